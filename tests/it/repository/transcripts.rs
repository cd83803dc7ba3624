//! Every output shown in README and docs, compared with the command's output.
//!
//! A comment before a block of ```` ```text ```` names the command, which is run like the commands of the
//! documentation:
//! `<!-- prints: cpufit audit --snapshot cluster.yaml -->`, or else `<!-- no transcript: WHY -->`.
//!
//! A line `...` stands for omitted lines, and `…` at the end of a line for its rest. The output of `make demo` is an
//! excerpt.
//!
//! A block of commands that a test shows is compared with the snapshots of that test. The comment before it names the
//! test: `<!-- not run: WHY; tests/e2e/stories.rs shows it -->`.

use std::path::Path;

use serde_json::Value;

use crate::common::documents::{self, Whether, furnish, pages, shell};
use crate::common::{Scratch, Tally, cpufit, read};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Block {
    place: String,
    comment: String,
    lines: Vec<String>,
}

fn blocks() -> Vec<Block> {
    let mut out = Vec::new();
    for path in pages() {
        let text = String::from_utf8(read(&path)).expect("UTF-8");
        let page = path.strip_prefix(root()).expect("below the root").display().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for at in (0..lines.len()).filter(|&at| lines[at] == "```text") {
            let comment =
                at.checked_sub(1).and_then(|before| lines[before].strip_prefix("<!-- ")?.strip_suffix(" -->"));
            let body = lines[at + 1..].iter().take_while(|line| **line != "```");
            out.push(Block {
                place: format!("{page}:{}", at + 1),
                comment: comment.unwrap_or_default().to_owned(),
                lines: body.map(ToString::to_string).collect(),
            });
        }
    }
    out
}

/// Returns the first line of a transcript that the command does not print in this position.
fn first_other<'t>(transcript: &'t [String], printed: &str, is_excerpt: bool) -> Option<&'t str> {
    let mut rest = printed.lines();
    let mut is_gap = is_excerpt;
    for line in transcript {
        if line.trim() == "..." {
            is_gap = true;
            continue;
        }
        let is_it = |found: &str| match line.strip_suffix('…') {
            Some(head) => found.starts_with(head.trim_end()),
            None => found.trim_end() == line,
        };
        let is_there = if is_gap { rest.any(is_it) } else { rest.next().is_some_and(is_it) };
        if !is_there {
            return Some(line);
        }
        is_gap = false;
    }
    if is_gap || is_excerpt { None } else { rest.next().map(|_| "the end: more is printed") }
}

/// Returns the steps of the story in `examples/demo.rs`: review, text, and the kubectl command if there is one.
fn story() -> Vec<(String, String, Option<String>)> {
    let source = String::from_utf8(read(&root().join("examples/demo.rs"))).expect("UTF-8");
    let field = |step: &str, name: &str| {
        let line = step.lines().find_map(|line| line.trim_start().strip_prefix(name).map(str::to_owned))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    let steps = source.split("    Step {\n").skip(1);
    let step = |step| Some((field(step, "review:")?, field(step, "story:")?, field(step, "command:")));
    steps.filter_map(step).collect()
}

/// Returns the output of `make demo`.
fn demo() -> String {
    let folder = root().join("demo");
    let mut out = String::new();
    for (at, (review, words, command)) in story().into_iter().enumerate() {
        let path = folder.join("reviews").join(&review);
        let asked: Value = serde_json::from_slice(&read(&path)).expect("a review");
        let ran = cpufit(["check", "-o", "review", "--snapshot"])
            .args([folder.join("cluster.yaml")])
            .args(["--policy".as_ref(), folder.join("policy.yaml").as_os_str(), path.as_os_str()])
            .run();
        let response = &ran.json()["response"];
        let mut lines = vec![format!("{}. {words}", at + 1)];
        lines.extend(command.iter().map(|command| format!("$ {command}")));
        let warnings = response["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str);
        lines.extend(warnings.map(|warning| format!("Warning: {warning}")));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (request, file) = (&asked["request"], command.as_deref().and_then(|command| command.rsplit(' ').next()));
        let resource = text(&request["kind"]["kind"]).to_lowercase();
        lines.push(match (response["status"]["message"].as_str(), file) {
            (Some(message), Some(file)) => format!(
                "Error from server (Forbidden): error when creating \"{file}\": admission webhook \"validate.cpufit.io\" denied \
                 the request: {message}"
            ),
            (_, Some(_)) => format!("{resource}.{}/{} created", text(&request["kind"]["group"]), text(&request["name"])),
            _ => String::new(),
        });
        out += &lines.join("\n");
        out += "\n\n";
    }
    out
}

#[test]
fn every_transcript_is_what_the_command_prints() {
    let mut tally = Tally::new("transcripts");
    let mut compared = 0;
    for Block { place, comment, lines } in blocks() {
        let problems = if let Some(command) = comment.strip_prefix("prints: ") {
            let is_demo = command == "make demo";
            let printed = if is_demo {
                demo()
            } else {
                let scratch = Scratch::new();
                furnish(scratch.path());
                let ran = shell(scratch.path(), command, Path::new("/nonexistent"));
                ran.stdout + &ran.stderr
            };
            compared += 1;
            let other = first_other(&lines, &printed, is_demo);
            other.map(|line| format!("{line:?} is not what `{command}` prints:\n{printed}"))
        } else {
            let why = comment.strip_prefix("no transcript: ").unwrap_or_default();
            (why.len() < 10).then(|| "it neither says what prints it, nor why nothing does".to_owned())
        };
        tally.case(&place, &problems.into_iter().collect::<Vec<_>>());
    }
    tally.note(format!("{compared} were printed again"));
    assert!(compared >= 8, "only {compared} transcripts were compared");
    tally.finish("a reader sees another thing than the page shows");
}

/// Returns the names and contents of the snapshots that a test of the repository takes.
fn snapshots(test: &str) -> Vec<(String, String)> {
    let folder = root().join(test).parent().expect("a folder").join("snapshots");
    let mut out = Vec::new();
    for path in std::fs::read_dir(&folder).expect("snapshots").map(|entry| entry.expect("an entry").path()) {
        let snapshot = String::from_utf8(read(&path)).expect("UTF-8");
        let Some((head, content)) = snapshot.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) else {
            continue;
        };
        if head.lines().any(|line| line.strip_prefix("source: ") == Some(test)) {
            out.push((path.file_name().expect("a name").to_string_lossy().into_owned(), content.to_owned()));
        }
    }
    out
}

/// Returns the test that shows a block, according to its reason: `…; tests/e2e/stories.rs shows it`.
fn test_in(why: &str) -> Option<&str> {
    why.strip_suffix(" shows it")?.rsplit(' ').next()
}

#[test]
fn every_block_that_names_a_test_is_one_of_its_snapshots() {
    let mut tally = Tally::new("blocks");
    let mut compared = 0;
    for block in documents::blocks() {
        let Whether::Not(why) = &block.run else { continue };
        let Some(test) = test_in(why) else { continue };
        let lines: Vec<String> = block.commands.lines().map(str::to_owned).collect();
        let others: Vec<String> = snapshots(test)
            .iter()
            .filter_map(|(name, content)| first_other(&lines, content, false).map(|line| format!("{name}: {line:?}")))
            .collect();
        let is_shown = others.len() < snapshots(test).len();
        let problem = (!is_shown).then(|| format!("no snapshot of {test} shows this: {others:#?}"));
        compared += 1;
        tally.case(&format!("{}:{}", block.page, block.line), &problem.into_iter().collect::<Vec<_>>());
    }
    assert!(compared >= 2, "only {compared} blocks were compared");
    tally.finish("a reader sees another thing than the page shows");
}

#[test]
fn a_transcript_is_compared_line_by_line() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let other = |transcript: &str, printed: &str| first_other(&lines(transcript), printed, false).map(str::to_owned);
    assert_eq!(other("a\nb", "a\nb\n"), None);
    assert_eq!(other("a\n...\nd\n...", "a\nb\nc\nd\ne\n"), None);
    assert_eq!(other("a b …", "a b c\n"), None);
    assert_eq!(other("a\nc", "a\nb\nc\n").as_deref(), Some("c"));
    assert_eq!(other("a", "a\nb\n").as_deref(), Some("the end: more is printed"));
    assert_eq!(other("a\n...\nx", "a\nb\n").as_deref(), Some("x"));
}
