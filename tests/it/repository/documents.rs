//! Every command in README and docs, run unchanged; commands that need a cluster are run by `tests/e2e/documents.rs`.
//! Lines and paragraphs of pages are short.

use std::path::Path;

use crate::common::documents::{Whether, blocks, furnish, pages, shell};
use crate::common::{Scratch, Tally, read};

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

/// Returns the paragraphs of a page outside of code, tables and headings: the line at which each begins, and its lines.
fn paragraphs(text: &str) -> Vec<(usize, Vec<&str>)> {
    let (mut out, mut is_code, mut is_text): (Vec<(usize, Vec<&str>)>, _, _) = (Vec::new(), false, false);
    for (at, line) in text.lines().enumerate() {
        let start = line.trim_start();
        is_code ^= start.starts_with("```");
        let is_other = is_code || start.is_empty() || ["```", "|", "#", "<!--"].iter().any(|it| start.starts_with(it));
        let is_item =
            start.starts_with("- ") || start.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with(". ");
        if !is_other && (is_item || !is_text) {
            out.push((at + 1, Vec::new()));
        }
        is_text = !is_other;
        if is_text {
            out.last_mut().expect("a paragraph").1.push(line);
        }
    }
    out
}

#[test]
fn pages_have_short_lines_and_paragraphs() {
    const MAX_LINE_CHARS: usize = 160;
    const MAX_PARAGRAPH_CHARS: usize = 900;
    let mut tally = Tally::new("pages");
    let changes = Path::new(env!("CARGO_MANIFEST_DIR")).join("CHANGELOG.md");
    for path in pages().into_iter().chain([changes]) {
        let text = String::from_utf8(read(&path)).expect("UTF-8");
        let found = paragraphs(&text);
        assert!(!found.is_empty(), "{} was not read", path.display());
        let mut problems = Vec::new();
        for (at, lines) in found {
            let wide = lines.iter().any(|line| line.chars().count() > MAX_LINE_CHARS);
            let whole: usize = lines.iter().map(|line| line.trim().chars().count() + 1).sum();
            if wide {
                problems.push(format!(
                    "line {at}: longer than {MAX_LINE_CHARS} characters: begin a new line with each sentence"
                ));
            }
            if whole > MAX_PARAGRAPH_CHARS {
                problems.push(format!("line {at}: {whole} characters in one paragraph: begin another, or a list"));
            }
        }
        tally.case(&path.display().to_string(), &problems);
    }
    tally.finish("a reader loses the line, or the thread");
}
