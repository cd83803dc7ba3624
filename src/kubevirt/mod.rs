//! What KubeVirt itself would do with an object.

pub mod wire;
