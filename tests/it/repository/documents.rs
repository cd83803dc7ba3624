//! Every command in README and docs, run unchanged; commands that need a cluster are run by `tests/e2e/documents.rs`.

use std::path::Path;

use crate::common::documents::{Whether, blocks, furnish, shell};
use crate::common::{Scratch, Tally};

#[test]
fn every_command_that_needs_no_cluster_runs() {
    let mut tally = Tally::new("blocks of commands");
    let mut others = 0;
    for block in blocks() {
        let place = format!("{}:{}", block.page, block.line);
        match &block.run {
            Whether::Here => {
                let scratch = Scratch::new();
                furnish(scratch.path());
                let ran = shell(scratch.path(), &block.commands, Path::new("/nonexistent"));
                let problem = format!("exit {:?}: {}\n{}", ran.code, ran.stderr.trim_end(), block.commands);
                tally.case(&place, &if ran.code == Some(0) { Vec::new() } else { vec![problem] });
            }
            Whether::OnCluster => others += 1,
            Whether::Not(why) => {
                assert!(why.len() > 10, "{place} does not say why it is not run");
                others += 1;
            }
        }
    }
    tally.note(format!("{others} need a cluster or say why they are not run"));
    tally.finish("a reader who types what the documentation says gets an error");
}
