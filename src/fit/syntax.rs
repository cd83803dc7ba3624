//! The syntax rules of Kubernetes for names. Mirrors
//! `k8s.io/apimachinery/pkg/util/validation/validation.go`.

/// Checks a qualified name: a label key, optionally with a DNS prefix (`IsQualifiedName`).
///
/// # Errors
///
/// Returns the rule that the text breaks.
pub(crate) fn qualified(text: &str) -> Result<(), &'static str> {
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if prefix.is_some_and(|prefix| subdomain(prefix).is_err()) {
        return Err("the part before the slash must be a DNS name in lower case");
    }
    label_name(name)
}

/// Checks the part of a label key after the slash.
///
/// # Errors
///
/// Returns the rule that the text breaks.
pub(crate) fn label_name(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("a label key needs a name");
    }
    label_text(text)
}

/// Checks a label value (`IsValidLabelValue`); it may be empty.
///
/// # Errors
///
/// Returns the rule that the text breaks.
pub(crate) fn label_value(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Ok(()) } else { label_text(text) }
}

fn label_text(text: &str) -> Result<(), &'static str> {
    if text.len() > 63 {
        return Err("at most 63 characters");
    }
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()].into_iter().flatten().all(u8::is_ascii_alphanumeric);
    if ends && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        Ok(())
    } else {
        Err("only letters, digits, '-', '_' and '.', beginning and ending with a letter or digit")
    }
}

/// Checks a text that a program prints as it is: not empty, and without control characters.
pub(crate) fn printable(text: &str) -> Result<(), &'static str> {
    match text {
        "" => Err("it is empty"),
        text if text.chars().any(char::is_control) => Err("it has control characters"),
        _ => Ok(()),
    }
}

/// Checks a DNS subdomain (`IsDNS1123Subdomain`): the name of most objects.
///
/// # Errors
///
/// Returns the rule that the text breaks.
pub(crate) fn subdomain(text: &str) -> Result<(), &'static str> {
    if text.len() <= 253 && text.split('.').all(is_dns_label) {
        Ok(())
    } else {
        Err("only lower-case letters, digits, '-' and '.', each part beginning and ending with a letter or digit")
    }
}

/// Checks a DNS label (`IsDNS1123Label`): the name of a namespace.
///
/// # Errors
///
/// Returns the rule that the text breaks.
pub(crate) fn dns_label(text: &str) -> Result<(), &'static str> {
    if text.len() <= 63 && is_dns_label(text) {
        Ok(())
    } else {
        Err("only lower-case letters, digits and '-', beginning and ending with a letter or digit, at most 63")
    }
}

fn is_dns_label(text: &str) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(allowed)
        && bytes.last().is_some_and(allowed)
        && bytes.iter().all(|byte| allowed(byte) || *byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::plain("app", true)]
    #[case::prefixed("cpu-model.node.kubevirt.io/EPYC-Rome", true)]
    #[case::mixed_case("Tier_1.a", true)]
    #[case::empty("", false)]
    #[case::no_name("kubevirt.io/", false)]
    #[case::no_prefix("/app", false)]
    #[case::two_slashes("a/b/c", false)]
    #[case::upper_case_prefix("Kubevirt.io/app", false)]
    #[case::underscore_first("_app", false)]
    #[case::space("my app", false)]
    #[case::multibyte("größe", false)]
    fn label_keys_are_valid_as_for_the_api_server(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(
            qualified(text).is_ok(),
            valid,
            "{text}: a selector would be taken that can match no label, or refused"
        );
    }

    #[rstest]
    #[case::longest(63, true)]
    #[case::too_long(64, false)]
    fn the_longest_names_are_those_that_the_api_server_takes(#[case] length: usize, #[case] valid: bool) {
        let text = "a".repeat(length);
        assert_eq!(qualified(&text).is_ok(), valid, "a key of {length} characters: the API server says otherwise");
        assert_eq!(label_value(&text).is_ok(), valid, "a value of {length} characters: the API server says otherwise");
        assert_eq!(
            dns_label(&text).is_ok(),
            valid,
            "a namespace of {length} characters: the API server says otherwise"
        );
    }

    #[rstest]
    #[case::plain("shop", true, true)]
    #[case::dotted("intel.pool", false, true)]
    #[case::upper("Shop", false, false)]
    #[case::dash_last("shop-", false, false)]
    #[case::two_dots("a..b", false, false)]
    #[case::empty("", false, false)]
    fn names_are_valid_as_for_the_api_server(#[case] text: &str, #[case] label: bool, #[case] whole: bool) {
        assert_eq!(dns_label(text).is_ok(), label, "{text} as a namespace: the API server says otherwise");
        assert_eq!(subdomain(text).is_ok(), whole, "{text} as a policy's name: the API server says otherwise");
    }
}
