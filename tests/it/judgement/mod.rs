//! What is judged, against truth from elsewhere: KubeVirt and kube-scheduler recorded, cases from the field, counts by hand.

mod cases;
mod domain;
mod generated;
mod golden;
