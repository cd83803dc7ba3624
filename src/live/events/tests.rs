//! Events as they are written.

use super::*;
use crate::kubevirt::wire::Meta;
use crate::report::Note;

#[test]
fn event_names_fit_for_objects_with_long_names() {
    let clock = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    assert_eq!(name("db", clock), "db.18fae27693b40000");
    let long = name(&"a.".repeat(126), clock);
    assert!(long.len() <= MAX_NAME_BYTES && !long.contains(".."), "{long}");
}

#[test]
fn a_policys_event_names_no_namespace_and_is_kept_in_default() {
    let about = Regarding::policy(&Meta { name: "intel".to_owned(), uid: "u".to_owned(), ..Meta::default() });
    let clock = Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let series =
        Series::new(Note::of_watched("spec.enforce: Sometimes is not one"), Now { tick: Instant::now(), clock });
    let event = super::event("default", "cpufit-1", &about, Reason::PolicyInvalid, &series);
    insta::assert_json_snapshot!(event, @r#"
    {
      "apiVersion": "v1",
      "kind": "Event",
      "count": 1,
      "firstTimestamp": "2027-01-15T08:00:00Z",
      "involvedObject": {
        "apiVersion": "cpufit.io/v1alpha1",
        "kind": "CPUPolicy",
        "name": "intel",
        "uid": "u"
      },
      "lastTimestamp": "2027-01-15T08:00:00Z",
      "message": "spec.enforce: Sometimes is not one",
      "metadata": {
        "name": "intel.18fae27693b40000",
        "namespace": "default"
      },
      "reason": "CPUPolicyInvalid",
      "reportingComponent": "cpufit.io/cpufit",
      "reportingInstance": "cpufit-1",
      "type": "Warning"
    }
    "#);
}
