//! Single steps in a table, then simulated rotations: replicas and API servers that lag, leaders that are replaced.
use rstest::rstest;
use rustls_pki_types::DnsName;

use super::*;

const VALIDITY: Duration = Duration::from_secs(90);

fn names() -> ServerNames {
    ServerNames { dns: vec![DnsName::try_from("cpufit.cpufit-system.svc").unwrap()], ips: Vec::new() }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn made() -> Stored {
    after(Stored::default(), RotationStep::Make, 0)
}

fn after(stored: Stored, step: RotationStep, seconds: u64) -> Stored {
    stored.after(step, &names(), VALIDITY, at(seconds)).unwrap()
}

fn reread(stored: &Stored) -> Stored {
    Stored::read(&stored.data(), &names())
}

#[rstest]
#[case::nothing(Stored::default(), 0, RotationStep::Make)]
#[case::young(made(), 59, RotationStep::Keep)]
#[case::two_thirds_gone(made(), 60, RotationStep::Prepare)]
#[case::ended(made(), 90, RotationStep::Make)]
#[case::prepared(after(made(), RotationStep::Prepare, 60), 61, RotationStep::Keep)]
#[case::prepared_and_the_old_one_ended(after(made(), RotationStep::Prepare, 60), 90, RotationStep::Promote)]
#[case::prepared_late(after(made(), RotationStep::Prepare, 80), 82, RotationStep::Keep)]
#[case::prepared_too_late_to_wait(after(made(), RotationStep::Prepare, 80), 83, RotationStep::Promote)]
#[case::both_ended(after(made(), RotationStep::Prepare, 60), 150, RotationStep::Make)]
#[case::promoted(after(after(made(), RotationStep::Prepare, 60), RotationStep::Promote, 70), 89, RotationStep::Keep)]
#[case::the_old_authority_ended(
    after(after(made(), RotationStep::Prepare, 60), RotationStep::Promote, 70),
    90,
    RotationStep::Prune
)]
fn each_state_of_the_certificates_leads_to_its_step(
    #[case] stored: Stored,
    #[case] seconds: u64,
    #[case] expected: RotationStep,
) {
    assert_eq!(stored.step(VALIDITY, false, at(seconds)), expected);
    assert_eq!(reread(&stored).step(VALIDITY, false, at(seconds)), expected, "by another leader, from the Secret");
}

#[test]
fn a_successor_serves_when_its_authority_is_known() {
    let prepared = after(made(), RotationStep::Prepare, 60);
    assert_eq!(prepared.step(VALIDITY, true, at(61)), RotationStep::Promote);
    let promoted = after(prepared, RotationStep::Promote, 61);
    assert_eq!(promoted.authorities.len(), 2, "a replica that has not read it yet serves the old one");
    assert_eq!(after(promoted, RotationStep::Prune, 90).authorities.len(), 1);
}

/// Damaged by hand, or by restoring half of a backup.
#[rstest]
#[case::no_key("tls.key", None)]
#[case::rubbish("tls.crt", Some("rubbish".to_owned()))]
#[case::a_key_of_another("tls.key", Some(made().data()["tls.key"].clone()))]
#[case::no_authority("ca.crt", None)]
#[case::another_authority("ca.crt", Some(made().data()["ca.crt"].clone()))]
fn a_certificate_that_cannot_serve_is_replaced(#[case] key: &str, #[case] value: Option<String>) {
    let mut data = made().data();
    data.remove(key);
    data.extend(value.map(|value| (key.to_owned(), value)));
    assert_eq!(Stored::read(&data, &names()).step(VALIDITY, false, at(0)), RotationStep::Make);
}

/// The served certificate stays trusted, whether the Secret was deleted or damaged.
#[rstest]
#[case::deleted(|data: &mut BTreeMap<String, String>| data.clear())]
#[case::spoilt(|data: &mut BTreeMap<String, String>| drop(data.insert("ca.crt".to_owned(), "rubbish".to_owned())))]
fn the_served_certificate_outlives_its_secret(#[case] change: fn(&mut BTreeMap<String, String>)) {
    let last = made();
    let mut data = last.data();
    change(&mut data);
    let found = || Stored::read(&data, &names());
    let (planned, step) = found().plan(Some(&last), VALIDITY, true, at(10));
    assert_eq!(step, RotationStep::Prepare);
    let stored = after(planned, step, 10);
    assert!(stored.bundle().contains(&last.bundle()), "handshakes of other replicas would fail");
    assert_eq!(stored.data()["tls.crt"], last.data()["tls.crt"]);
    assert_eq!(found().plan(Some(&last), VALIDITY, true, at(90)).1, RotationStep::Make, "it has ended besides");
    assert_eq!(found().plan(None, VALIDITY, true, at(10)).1, RotationStep::Make, "nothing was ever served");
    assert_eq!(last.clone().plan(Some(&made()), VALIDITY, true, at(10)).1, RotationStep::Keep, "what it holds counts");
}

#[test]
fn a_certificate_for_another_namespace_does_not_serve_here() {
    let other = ServerNames { dns: vec![DnsName::try_from("cpufit.elsewhere.svc").unwrap()], ips: Vec::new() };
    assert_eq!(Stored::read(&made().data(), &other).step(VALIDITY, false, at(0)), RotationStep::Make);
}

#[test]
fn text_between_the_certificates_of_a_bundle_is_ignored() {
    let both = after(made(), RotationStep::Prepare, 60);
    assert_eq!(authorities(&both.bundle()), both.authorities);
    let noisy = both.bundle().replace("-----BEGIN", "# an authority\r\n-----BEGIN") + "rubbish";
    assert_eq!(authorities(&noisy), both.authorities);
    assert_eq!(authorities("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"), []);
}

#[test]
fn no_key_of_an_authority_is_stored_and_none_is_printed() {
    let stored = after(made(), RotationStep::Prepare, 60);
    let keys: Vec<String> = stored.data().into_keys().collect();
    assert_eq!(keys, ["ca.crt", "next.crt", "next.key", "tls.crt", "tls.key"]);
    assert_eq!(stored.bundle().matches("PRIVATE").count(), 0);
    assert!(!format!("{stored:?}").contains("PRIVATE"), "a debug line would give it away");
}

/// Every served certificate is signed by an authority that the API server knows, although both lag.
#[rstest]
#[case::quick(1, 1)]
#[case::replicas_lag(1, 12)]
#[case::api_servers_lag(9, 1)]
#[case::both_lag(9, 12)]
fn no_handshake_fails_while_certificates_are_rotated(#[case] server_lag: u64, #[case] replica_lag: u64) {
    const SETTLING: u64 = 10;
    let mut stored = made();
    let mut history: Vec<(u64, Stored)> = vec![(0, stored.clone())];
    let mut published = (stored.bundle(), 0);
    let mut served = Vec::new();
    for second in 1..=900 {
        // A new leader knows only the Secret.
        if second % 64 == 0 {
            stored = reread(&stored);
            published.1 = second;
        }
        let is_settled = published.0 == stored.bundle() && second - published.1 >= SETTLING;
        let step = stored.step(VALIDITY, is_settled, at(second));
        assert_ne!(step, RotationStep::Make, "second {second}");
        if step != RotationStep::Keep {
            stored = after(stored, step, second);
            history.push((second, stored.clone()));
        }
        if published.0 != stored.bundle() {
            published = (stored.bundle(), second);
        }
        let as_of = |lag: u64| {
            let seen = history.iter().rfind(|(at, _)| at + lag <= second);
            &seen.unwrap_or(&history[0]).1
        };
        let known = as_of(server_lag);
        for replica in [as_of(0), as_of(replica_lag)] {
            let HeldCertificate { pair, until } = replica.current().unwrap();
            assert!(at(second) < *until, "second {second}: an expired certificate is served");
            let trusted = known.authorities.iter().any(|authority| Inspected::new(&authority.pem, pair).is_ok());
            assert!(trusted, "second {second}: the API server does not know who signed it");
            if served.last() != Some(&pair.certificate_pem) {
                served.push(pair.certificate_pem.clone());
            }
        }
        assert!(stored.authorities.len() <= 3, "second {second}: authorities pile up");
    }
    assert!(served.len() >= 12, "{} certificates in ten times the validity of one", served.len());
}

/// The Secret is deleted at any second of a certificate's life, also while its successor waits: the new certificate is
/// served before the old one expires.
#[test]
fn certificates_are_replaced_in_time_even_if_the_secret_is_deleted() {
    const SETTLING: u64 = 15;
    for deleted in 1..84 {
        let mut stored = made();
        let mut published = (stored.bundle(), 0);
        for second in 1..=120 {
            let is_settled = published.0 == stored.bundle() && second - published.1 >= SETTLING;
            let found = if second == deleted { Stored::default() } else { stored.clone() };
            let (planned, step) = found.plan(Some(&stored), VALIDITY, is_settled, at(second));
            assert_ne!(
                step,
                RotationStep::Make,
                "deleted at {deleted}, second {second}: it serves before any API server trusts it"
            );
            stored = if step == RotationStep::Keep { planned } else { after(planned, step, second) };
            if published.0 != stored.bundle() {
                published = (stored.bundle(), second);
            }
            // A replica that lags by five seconds serves it until then.
            let until = stored.current().unwrap().until;
            assert!(at(second + 5) < until, "deleted at {deleted}, second {second}: nothing valid is served");
        }
    }
}
