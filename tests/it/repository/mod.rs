//! Files of the repository other than code: manifests compared with the code, and the structure of the source.

mod chart;
mod cpupolicy;
mod deploy;
mod documents;
mod json_fields;
mod structure;
mod transcripts;
mod words;
