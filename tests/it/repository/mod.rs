//! What lies in the repository beside the code: manifests against the code that they serve, and the structure of the source.

mod deploy;
mod documents;
mod structure;
mod transcripts;
mod words;
