//! Metrics of the process, with the names used by Prometheus's client libraries; only on Linux, from `/proc`.

use prometheus_client::registry::Registry;

#[cfg(not(target_os = "linux"))]
pub(super) fn register(_: &mut Registry) {}

#[cfg(target_os = "linux")]
pub(super) fn register(registry: &mut Registry) {
    registry.register_collector(Box::new(linux::Process));
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fmt;

    use procfs::process::{Process as OfProc, Stat};
    use procfs::{boot_time_secs, page_size, ticks_per_second};
    use prometheus_client::collector::Collector;
    use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
    use prometheus_client::metrics::MetricType;
    use prometheus_client::metrics::counter::ConstCounter;
    use prometheus_client::metrics::gauge::ConstGauge;
    use prometheus_client::registry::Unit;

    use crate::descriptors;

    /// Metrics of this process, read on each scrape.
    #[derive(Debug)]
    pub(super) struct Process;

    impl Collector for Process {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            // Unreadable values are left out.
            let Ok(process) = OfProc::myself() else { return Ok(()) };
            let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: f64| {
                let encoder = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
                ConstGauge::new(value).encode(encoder)
            };
            if let Ok(open) = process.fd_count() {
                gauge("open_fds", "Open file descriptors", None, count(open as u64))?;
            }
            if let Some(most) = descriptors::most() {
                gauge("max_fds", "Most file descriptors that may be open", None, count(most as u64))?;
            }
            let Ok(stat) = process.stat() else { return Ok(()) };
            gauge("virtual_memory", "Virtual memory", Some(&Unit::Bytes), count(stat.vsize))?;
            let resident = stat.rss.saturating_mul(page_size());
            gauge("resident_memory", "Resident memory", Some(&Unit::Bytes), count(resident))?;
            gauge("threads", "Threads of the operating system", None, count(stat.num_threads.unsigned_abs()))?;
            if let Ok(boot) = boot_time_secs() {
                let began = count(boot) + seconds(stat.starttime);
                gauge("start_time", "When the process started, since 1970", Some(&Unit::Seconds), began)?;
            }
            let help = "Time of processors spent by the process and by the kernel for it";
            let encoder = encoder.encode_descriptor("cpu", help, Some(&Unit::Seconds), MetricType::Counter)?;
            ConstCounter::new(processor(&stat)).encode(encoder)
        }
    }

    /// Returns the processor time in seconds.
    fn processor(stat: &Stat) -> f64 {
        seconds(stat.utime + stat.stime)
    }

    fn seconds(ticks: u64) -> f64 {
        count(ticks) / count(ticks_per_second())
    }

    #[expect(clippy::cast_precision_loss, reason = "neither memory nor times of a process come near 2^52")]
    fn count(value: u64) -> f64 {
        value as f64
    }

    #[cfg(test)]
    mod tests {
        use std::collections::BTreeMap;
        use std::time::{SystemTime, UNIX_EPOCH};

        use crate::telemetry::{Exposition, Metrics};

        /// Dashboards for all programs use these names and units.
        #[test]
        fn a_process_is_measured() {
            let text = Metrics::default().render(Exposition::Text).unwrap();
            let lines =
                text.lines().filter(|line| line.starts_with("process_")).filter_map(|line| line.split_once(' '));
            let found: BTreeMap<&str, f64> = lines.map(|(name, value)| (name, value.parse().unwrap())).collect();
            let names: Vec<&str> = found.keys().copied().collect();
            assert_eq!(
                names,
                [
                    "process_cpu_seconds_total",
                    "process_max_fds",
                    "process_open_fds",
                    "process_resident_memory_bytes",
                    "process_start_time_seconds",
                    "process_threads",
                    "process_virtual_memory_bytes",
                ]
            );
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
            let started = found["process_start_time_seconds"];
            assert!((now - 3600.0..=now + 2.0).contains(&started), "{started} is not a while before {now}");
            assert!(found["process_resident_memory_bytes"] > 1e6, "in pages, or not at all");
            assert!(found["process_virtual_memory_bytes"] > found["process_resident_memory_bytes"]);
            assert!(found["process_open_fds"] >= 3.0 && found["process_open_fds"] <= found["process_max_fds"]);
            assert!(found["process_threads"] >= 1.0);
        }
    }
}
