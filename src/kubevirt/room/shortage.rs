//! Sentences about a resource of which a node has too little.

use super::PODS;

/// A resource of which a node has too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// The resource's name: `cpu`, `memory`, ….
    pub resource: String,
    /// The free amount, in thousandths.
    pub free: i64,
    /// The allocatable amount of the node, in thousandths.
    pub of: i64,
    /// The requested amount, in thousandths; 0 if it is not known.
    pub asked: i64,
    /// Whether more may be requested.
    pub at_least: bool,
}

impl Shortage {
    /// Returns the free amount in words: `2 of 64 cores free`, `3 of 256 GiB of memory free`,
    /// `it has no nvidia.com/T4`.
    pub(crate) fn words(&self) -> String {
        let Self { resource, free, of, .. } = self;
        let amount = |value: i64| self.amount(value);
        match resource.as_str() {
            _ if *of == 0 => format!("it has no {resource}"),
            PODS if *of == 1000 => "it takes 1 pod and has it".to_owned(),
            PODS => format!("it takes {} pods and has them", of / 1000),
            _ => format!("{} of {} free", amount(*free), self.unit(&amount(*of))),
        }
    }

    /// Returns the requested amount in words: `8 cores`, `at least 16 GiB of memory`.
    pub(crate) fn wanted(&self) -> String {
        let least = if self.at_least { "at least " } else { "" };
        match self.resource.as_str() {
            PODS if self.asked == 1000 => "1 pod".to_owned(),
            _ => format!("{least}{}", self.unit(&self.amount(self.asked))),
        }
    }

    /// Returns an amount with its unit.
    fn unit(&self, amount: &str) -> String {
        match self.resource.as_str() {
            "cpu" if amount == "1" => "1 core".to_owned(),
            "cpu" => format!("{amount} cores"),
            bytes if is_in_bytes(bytes) => format!("{amount} GiB of {bytes}"),
            pieces => format!("{amount} {pieces}"),
        }
    }

    /// Formats an amount with as many decimals as needed for the free amount to differ from the requested one.
    fn amount(&self, value: i64) -> String {
        /// The most decimals: a byte is a little less than 10^-9 GiB.
        const MAX_DIGITS: u32 = 10;
        let unit = match self.resource.as_str() {
            bytes if is_in_bytes(bytes) => 1000 << 30,
            _ => 1000,
        };
        let cut = |value: i64, digits: u32| i128::from(value) * 10_i128.pow(digits) / unit;
        let differs = |digits: &u32| cut(self.free, *digits) != cut(self.asked, *digits);
        let digits = (1..=MAX_DIGITS).find(differs).unwrap_or(MAX_DIGITS);
        decimal(cut(value, digits), digits)
    }
}

/// Whether a resource is counted in bytes: memory, huge pages, storage.
fn is_in_bytes(resource: &str) -> bool {
    matches!(resource, "memory" | "ephemeral-storage") || resource.starts_with("hugepages-")
}

/// Formats a number that was multiplied by a power of ten, without trailing zeros.
fn decimal(value: i128, digits: u32) -> String {
    let scale = 10_i128.pow(digits);
    let fraction = format!("{:0width$}", value % scale, width = digits as usize);
    match fraction.trim_end_matches('0') {
        "" => (value / scale).to_string(),
        fraction => format!("{}.{fraction}", value / scale),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::whole("cpu", 2000, 64_000, 8000, "2 of 64 cores free", "8 cores")]
    #[case::what_differs_is_shown("cpu", 1500, 1500, 1501, "1.5 of 1.5 cores free", "1.501 cores")]
    #[case::of_memory("memory", 2_000 << 30, 8_000 << 30, (2_000 << 30) + 1_000, "2 of 8 GiB of memory free", "2.0000000009 GiB of memory")]
    #[case::huge_pages_are_bytes("hugepages-2Mi", 500 << 30, 1_000 << 30, 2_000 << 30, "0.5 of 1 GiB of hugepages-2Mi free", "2 GiB of hugepages-2Mi")]
    #[case::a_device_that_is_not_there("nvidia.com/T4", 0, 0, 1000, "it has no nvidia.com/T4", "1 nvidia.com/T4")]
    #[case::pods("pods", 0, 110_000, 1000, "it takes 110 pods and has them", "1 pod")]
    fn a_shortage_names_the_missing_amount_and_not_the_request(
        #[case] resource: &str,
        #[case] free: i64,
        #[case] of: i64,
        #[case] asked: i64,
        #[case] words: &str,
        #[case] wanted: &str,
    ) {
        let short = Shortage { resource: resource.to_owned(), free, of, asked, at_least: false };
        assert_eq!(
            (short.words().as_str(), short.wanted().as_str()),
            (words, wanted),
            "users do not see which resource is short"
        );
    }
}
