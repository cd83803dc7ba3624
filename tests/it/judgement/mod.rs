//! Judgements compared with independent results: recordings of KubeVirt and kube-scheduler, field cases, independent
//! counts.

mod cases;
mod domain;
mod generated;
mod golden;
