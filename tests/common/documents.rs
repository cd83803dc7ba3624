//! Commands that the documentation gives.

use std::path::Path;

use super::read;

/// The commands of a section of a page of the documentation.
#[track_caller]
pub fn documented_commands(page: &str, section: &str) -> Vec<String> {
    let text = String::from_utf8(read(&Path::new(env!("CARGO_MANIFEST_DIR")).join(page))).expect("UTF-8");
    let section = text.split("\n## ").find(|part| part.starts_with(section)).expect("the section");
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}
