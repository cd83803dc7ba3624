//! Folds sentences that differ in names only into one.

/// Number of words out of ten that may differ between folded sentences.
const MAX_DIFFERENCES: usize = 4;

/// Folds similar sentences into one for all their names; differing words are replaced by `…`.
///
/// Sentences keep the order of their first occurrence; sentences of different kinds are never folded.
pub(crate) fn fold<K: PartialEq>(said: impl IntoIterator<Item = (K, String, String)>) -> Vec<(K, String, Vec<String>)> {
    let mut out: Vec<(K, Vec<String>, Vec<String>)> = Vec::new();
    for (kind, sentence, name) in said {
        let words: Vec<String> = sentence.split(' ').map(str::to_owned).collect();
        let known = out.iter_mut().find(|(of, known, _)| *of == kind && are_alike(known, &words));
        let Some((_, known, names)) = known else {
            out.push((kind, words, vec![name]));
            continue;
        };
        for (known, word) in known.iter_mut().zip(&words) {
            *known = common(known, word);
        }
        names.push(name);
    }
    out.into_iter().map(|(kind, words, names)| (kind, words.join(" "), names)).collect()
}

fn are_alike(one: &[String], other: &[String]) -> bool {
    let unlike = || one.iter().zip(other).filter(|(one, other)| common(one, other) != **one).count();
    one.len() == other.len() && unlike() * 10 <= one.len() * MAX_DIFFERENCES
}

/// Returns the common part of two words: the word itself, or the punctuation around a name.
fn common(one: &str, other: &str) -> String {
    const MARKS: &[char] = &['(', ')', '"', '\'', ',', ':', ';', '.'];
    if one == other {
        return one.to_owned();
    }
    let head = one.len() - one.trim_start_matches(MARKS).len();
    let tail = one.trim_end_matches(MARKS).len().max(head);
    format!("{}…{}", &one[..head], &one[tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(said: &[(u8, &str, &str)]) -> Vec<String> {
        let said = said.iter().map(|(kind, sentence, name)| (*kind, (*sentence).to_owned(), (*name).to_owned()));
        fold(said).into_iter().map(|(_, sentence, names)| format!("{}: {sentence}", names.join(" "))).collect()
    }

    #[test]
    fn sentences_that_differ_in_one_name_are_joined() {
        let refused = |of: &str| format!("exec is refused (namespace {of}: pods \"x-{of}\" is forbidden)");
        let (shop, bank) = (refused("shop"), refused("bank"));
        let expected = ["a b c: exec is refused (namespace …: pods \"…\" is forbidden)"];
        assert_eq!(folded(&[(0, &shop, "a"), (0, &bank, "b"), (0, &refused("lab"), "c")]), expected);
        assert_eq!(folded(&[(0, &shop, "a"), (0, &shop, "b")]), [format!("a b: {shop}")], "nothing is left out");
        assert_eq!(folded(&[(0, &shop, "a"), (1, &bank, "b")]).len(), 2, "two kinds");
    }

    #[test]
    fn different_sentences_are_printed_separately() {
        let said = [(0, "virsh failed: no hypervisor", "a"), (0, "virsh failed: permission denied", "b"), (0, "", "c")];
        assert_eq!(folded(&said).len(), 3);
    }
}
