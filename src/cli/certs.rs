//! `cpufit certs`: a development certificate for the webhook, and the authority to verify it with.
//!
//! The authority's key is not stored after the leaf is signed, so no further certificate can be issued under it.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use rustls_pki_types::DnsName;
use time::OffsetDateTime;

use crate::files;
use crate::page::Page;
use crate::pki::{Authority, Inspected, PemPair, ServerNames, Validity};

const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Minimum remaining validity: a pair that expires earlier is created again, because it would not last a day.
const TOO_SHORT: Duration = Duration::from_secs(24 * 60 * 60);

/// Arguments of `cpufit certs`.
#[derive(Clone, Debug, clap::Args)]
pub struct CertsArgs {
    /// Folder for ca.pem, tls.crt and tls.key
    #[arg(long, value_name = "DIR", default_value = "certs")]
    pub out: PathBuf,
    /// DNS name of the server; may be repeated
    #[arg(
        long = "dns-name",
        value_name = "NAME",
        default_values = ["localhost", "cpufit.cpufit-system.svc"],
        value_parser = dns_name,
    )]
    pub dns_names: Vec<DnsName<'static>>,
    /// IP address of the server; may be repeated
    #[arg(
        long = "ip",
        value_name = "ADDRESS",
        default_values_t = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
    )]
    pub ips: Vec<IpAddr>,
    /// Days until the certificate expires
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
    pub days: u16,
    /// Replace existing files of any content
    #[arg(long)]
    pub force: bool,
}

fn dns_name(text: &str) -> Result<DnsName<'static>, String> {
    DnsName::try_from(text.to_owned()).map_err(|_| "not a DNS name (wildcards are not supported)".to_owned())
}

/// Creates the files unless valid ones exist, and prints their paths and expiry.
///
/// # Errors
///
/// Returns an error if the folder holds files that were not created here, or a valid pair for other names, unless
/// `--force` was given; or if certificates cannot be created or files not written.
pub(crate) fn run(args: &CertsArgs, page: &mut Page) -> anyhow::Result<()> {
    let CertsArgs { out, .. } = args;
    let (outcome, until) = match make(args, SystemTime::now())? {
        Written::Made { until } => ("made", until),
        Written::Renewed { until } => ("renewed", until),
        Written::Kept { until } => ("kept, still valid (--force replaces them)", until),
    };
    page.line(format_args!("development certificates {outcome}; they end on {}", day(until)));
    page.line(format_args!("  authority    {}", out.join(AUTHORITY).display()));
    page.line(format_args!("  certificate  {}", out.join(CERTIFICATE).display()));
    page.line(format_args!("  private key  {}", out.join(KEY).display()));
    Ok(())
}

/// The result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// There was no pair, or it had to be replaced.
    Made { until: SystemTime },
    /// There was a pair created here that had expired or was about to.
    Renewed { until: SystemTime },
    /// There is a valid pair.
    Kept { until: SystemTime },
}

/// The content of the folder.
enum FolderState {
    Nothing,
    Ours(Inspected),
    Else(anyhow::Error),
}

fn make(args: &CertsArgs, now: SystemTime) -> anyhow::Result<Written> {
    let CertsArgs { out, dns_names, ips, days, force } = args;
    let names = ServerNames { dns: dns_names.clone(), ips: ips.clone() };
    let renewed = match standing(out) {
        _ if *force => false,
        FolderState::Nothing => false,
        FolderState::Ours(pair) if pair.until() <= now + TOO_SHORT => true,
        FolderState::Ours(pair) => match pair.first_missing(&names) {
            None => return Ok(Written::Kept { until: pair.until() }),
            Some(name) => bail!(
                "{} is valid until {} but not for {name}; --force replaces it",
                out.join(CERTIFICATE).display(),
                day(pair.until())
            ),
        },
        FolderState::Else(error) => {
            return Err(error.context(format!(
                "{} holds something else than certificates made here; --force replaces it",
                out.display()
            )));
        }
    };
    let validity = Validity::of_days(now, *days);
    let authority = Authority::new("cpufit development authority", validity)?;
    let pair = authority.issue(&names, validity)?;
    fs::create_dir_all(out).with_context(|| format!("creating {}", out.display()))?;
    // The certificate is written last: a program that waits for it finds its key and authority.
    write(&out.join(AUTHORITY), authority.certificate_pem(), Audience::Everyone)?;
    write(&out.join(KEY), &pair.key_pem, Audience::Owner)?;
    write(&out.join(CERTIFICATE), &pair.certificate_pem, Audience::Everyone)?;
    let until = validity.until;
    Ok(if renewed { Written::Renewed { until } } else { Written::Made { until } })
}

fn standing(folder: &Path) -> FolderState {
    let text = |bytes| String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error));
    let read = |name| {
        let path = folder.join(name);
        match files::read(&path).map_err(io::Error::from).and_then(text) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow::Error::new(error).context(format!("reading {}", path.display()))),
        }
    };
    let texts = (|| anyhow::Ok((read(AUTHORITY)?, read(CERTIFICATE)?, read(KEY)?)))();
    match texts {
        Ok((None, None, None)) => FolderState::Nothing,
        Ok((Some(authority), Some(certificate_pem), Some(key_pem))) => {
            match Inspected::new(&authority, &PemPair { certificate_pem, key_pem }) {
                Ok(inspected) => FolderState::Ours(inspected),
                Err(error) => FolderState::Else(error.into()),
            }
        }
        Ok(_) => FolderState::Else(anyhow::anyhow!("{AUTHORITY}, {CERTIFICATE} and {KEY} are not all there")),
        Err(error) => FolderState::Else(error),
    }
}

/// The readers of a file.
#[derive(Clone, Copy)]
enum Audience {
    Everyone,
    Owner,
}

impl Audience {
    #[cfg(unix)]
    fn mode(self) -> u32 {
        match self {
            Self::Everyone => 0o644,
            Self::Owner => 0o600,
        }
    }
}

/// Writes a temporary file and renames it, so that readers never see a partial file.
fn write(path: &Path, text: &str, audience: Audience) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = write_new(&beside, text, audience).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // Best effort: the first error is reported.
        let _ = fs::remove_file(&beside);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

fn write_new(path: &Path, text: &str, audience: Audience) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, audience.mode());
    #[cfg(not(unix))]
    let _ = audience;
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn day(instant: SystemTime) -> time::Date {
    OffsetDateTime::from(instant).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn parse(arguments: &[&str]) -> Result<CertsArgs, clap::Error> {
        let command = CertsArgs::augment_args(clap::Command::new("certs"));
        CertsArgs::from_arg_matches(&command.try_get_matches_from([&["certs"], arguments].concat())?)
    }

    fn into(folder: &Path, arguments: &[&str]) -> CertsArgs {
        CertsArgs { out: folder.join("certs"), ..parse(arguments).unwrap() }
    }

    fn texts(args: &CertsArgs) -> [String; 3] {
        [AUTHORITY, CERTIFICATE, KEY].map(|name| fs::read_to_string(args.out.join(name)).unwrap())
    }

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn certs_defaults_match_the_demo() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.out, Path::new("certs"));
        assert_eq!(
            args.dns_names.iter().map(AsRef::as_ref).collect::<Vec<_>>(),
            ["localhost", "cpufit.cpufit-system.svc"]
        );
        assert_eq!(args.ips, ["127.0.0.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!((args.days, args.force), (30, false));
    }

    #[test]
    fn invalid_certs_arguments_are_usage_errors() {
        for refused in [["--dns-name", "a b"], ["--dns-name", "*.x"], ["--ip", "localhost"], ["--days", "0"]] {
            assert!(parse(&refused).is_err(), "{refused:?}");
        }
        let args = parse(&["--dns-name", "a.example", "--dns-name", "b.example"]).unwrap();
        assert_eq!(args.dns_names.len(), 2);
    }

    #[test]
    fn a_created_certificate_is_signed_by_its_authority() {
        let folder = tempfile::tempdir().unwrap();
        let args = into(folder.path(), &[]);
        assert_eq!(make(&args, now()).unwrap(), Written::Made { until: now() + 30 * DAY });
        let [authority, certificate_pem, key_pem] = texts(&args);
        let inspected = Inspected::new(&authority, &PemPair { certificate_pem, key_pem }).unwrap();
        let names = ServerNames { dns: args.dns_names.clone(), ips: args.ips.clone() };
        assert_eq!(inspected.first_missing(&names), None);
        assert_eq!(fs::read_dir(&args.out).unwrap().count(), 3, "nothing temporary is left");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let args = into(folder.path(), &[]);
        make(&args, now()).unwrap();
        make(&CertsArgs { force: true, ..args.clone() }, now()).unwrap();
        assert_eq!(fs::metadata(args.out.join(KEY)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_valid_pair_is_kept_and_one_that_ends_is_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let args = into(folder.path(), &[]);
        make(&args, now()).unwrap();
        let first = texts(&args);

        let until = now() + 30 * DAY;
        assert_eq!(make(&args, now() + 28 * DAY).unwrap(), Written::Kept { until });
        assert_eq!(texts(&args), first);

        let last_day = now() + 29 * DAY;
        assert_eq!(make(&args, last_day).unwrap(), Written::Renewed { until: last_day + 30 * DAY });
        assert_ne!(texts(&args), first);

        let next_year = now() + 365 * DAY;
        assert_eq!(make(&args, next_year).unwrap(), Written::Renewed { until: next_year + 30 * DAY });
    }

    #[test]
    fn force_replaces_a_valid_pair() {
        let folder = tempfile::tempdir().unwrap();
        let args = into(folder.path(), &["--force"]);
        make(&args, now()).unwrap();
        let first = texts(&args);
        assert_eq!(make(&args, now()).unwrap(), Written::Made { until: now() + 30 * DAY });
        assert_ne!(texts(&args), first);
    }

    #[test]
    fn a_valid_pair_for_other_names_is_not_silently_kept() {
        let folder = tempfile::tempdir().unwrap();
        make(&into(folder.path(), &[]), now()).unwrap();
        let other = into(folder.path(), &["--dns-name", "webhook.example"]);
        let error = make(&other, now()).unwrap_err();
        assert!(error.to_string().contains("not for webhook.example; --force replaces it"), "{error}");
    }

    #[test]
    fn certificates_of_other_programs_are_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let args = into(folder.path(), &[]);
        fs::create_dir(&args.out).unwrap();
        fs::write(args.out.join(KEY), "another key").unwrap();
        let error = make(&args, now()).unwrap_err();
        assert!(error.to_string().contains("something else"), "{error}");
        assert_eq!(fs::read_to_string(args.out.join(KEY)).unwrap(), "another key");

        fs::write(args.out.join(AUTHORITY), "x").unwrap();
        fs::write(args.out.join(CERTIFICATE), "x").unwrap();
        assert!(make(&args, now()).is_err());
        assert!(make(&CertsArgs { force: true, ..args }, now()).is_ok());
    }
}
