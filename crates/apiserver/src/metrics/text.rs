//! The text format 0.0.4 as upstream's library writes it: families by name, samples by their labels' values, numbers as Go
//! prints them.

use std::fmt::Write as _;

use meta::metrics::Distribution;

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

/// Families are added in any order; [`Page::text`] sorts them.
#[derive(Default)]
pub(super) struct Page {
    families: Vec<(&'static str, String)>,
}

/// One family: its samples in any order.
pub(super) struct Family {
    name: &'static str,
    head: String,
    /// The values that it is sorted by, and its lines.
    samples: Vec<(Vec<String>, String)>,
}

impl Page {
    /// A family without samples is left out, as upstream leaves it out.
    pub(super) fn add(&mut self, family: Family) {
        if family.samples.is_empty() {
            return;
        }
        let Family { name, head: mut text, mut samples } = family;
        samples.sort();
        samples.iter().for_each(|(_, lines)| text.push_str(lines));
        self.families.push((name, text));
    }

    /// A family of one number without labels.
    pub(super) fn number(&mut self, kind: &str, name: &'static str, help: &str, value: f64) {
        let mut family = Family::new(kind, name, help);
        family.sample(&[], value);
        self.add(family);
    }

    pub(super) fn text(mut self) -> String {
        self.families.sort();
        self.families.into_iter().map(|(_, text)| text).collect()
    }
}

impl Family {
    pub(super) fn counter(name: &'static str, help: &str) -> Self {
        Family::new("counter", name, help)
    }

    pub(super) fn gauge(name: &'static str, help: &str) -> Self {
        Family::new("gauge", name, help)
    }

    pub(super) fn histogram(name: &'static str, help: &str) -> Self {
        Family::new("histogram", name, help)
    }

    fn new(kind: &str, name: &'static str, help: &str) -> Self {
        let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { name, head, samples: Vec::new() }
    }

    /// `labels` by name.
    pub(super) fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        let mut line = String::from(self.name);
        push_labels(labels, None, &mut line);
        push_value(value, &mut line);
        self.push(labels, line);
    }

    /// Buckets, sum and count. `unit` is how much of the sum is one of the metric's unit.
    pub(super) fn distribution(&mut self, labels: &[Label<'_>], bounds: &[f64], all: &Distribution, unit: f64) {
        let (mut lines, mut below) = (String::new(), 0);
        for (n, bin) in all.bins.iter().enumerate() {
            below += bin;
            let bound = bounds.get(n).map_or_else(|| "+Inf".to_owned(), |b| number(*b));
            lines.push_str(self.name);
            lines.push_str("_bucket");
            push_labels(labels, Some(&bound), &mut lines);
            push_value(below as f64, &mut lines);
        }
        for (suffix, value) in [("_sum", all.sum as f64 / unit), ("_count", all.count() as f64)] {
            lines.push_str(self.name);
            lines.push_str(suffix);
            push_labels(labels, None, &mut lines);
            push_value(value, &mut lines);
        }
        self.push(labels, lines);
    }

    fn push(&mut self, labels: &[Label<'_>], lines: String) {
        self.samples.push((labels.iter().map(|(_, value)| (*value).to_owned()).collect(), lines));
    }
}

fn push_labels(labels: &[Label<'_>], bound: Option<&str>, out: &mut String) {
    let all = labels.iter().copied().chain(bound.map(|b| ("le", b)));
    let mut open = false;
    for (name, value) in all {
        out.push(if open { ',' } else { '{' });
        open = true;
        // writing to a String cannot fail
        let _ = write!(out, "{name}=\"");
        for c in value.chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                c => out.push(c),
            }
        }
        out.push('"');
    }
    if open {
        out.push('}');
    }
}

fn push_value(value: f64, out: &mut String) {
    out.push(' ');
    out.push_str(&number(value));
    out.push('\n');
}

/// Go's shortest form: an exponent of two digits at least from a million on and below a ten-thousandth.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(e) if value != 0.0 && !(-4..6).contains(&e) => {
            format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
        }
        _ => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        let check = |value: f64, want: &str| assert_eq!(number(value), want);
        check(0.0, "0");
        check(1.0, "1");
        check(0.005, "0.005");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(123_456.0, "123456");
        check(1_000_000.0, "1e+06");
        check(1_234_567.0, "1.234567e+06");
        check(1_762_345_678.25, "1.76234567825e+09");
        check(f64::INFINITY, "+Inf");
    }

    #[test]
    fn a_page_is_sorted_and_leaves_out_what_is_empty() {
        let mut page = Page::default();
        let mut family = Family::counter("b_total", "[ALPHA] B.");
        family.sample(&[("code", "200"), ("verb", "a\"b")], 2.0);
        family.sample(&[("code", "100"), ("verb", "x")], 1.0);
        page.add(family);
        page.add(Family::gauge("empty", "nothing"));
        let mut family = Family::histogram("a_seconds", "[ALPHA] A.");
        family.distribution(&[], &[0.5], &Distribution { bins: vec![2, 1], sum: 1500 }, 1000.0);
        page.add(family);
        let want = concat!(
            "# HELP a_seconds [ALPHA] A.\n# TYPE a_seconds histogram\n",
            "a_seconds_bucket{le=\"0.5\"} 2\na_seconds_bucket{le=\"+Inf\"} 3\na_seconds_sum 1.5\na_seconds_count 3\n",
            "# HELP b_total [ALPHA] B.\n# TYPE b_total counter\n",
            "b_total{code=\"100\",verb=\"x\"} 1\nb_total{code=\"200\",verb=\"a\\\"b\"} 2\n",
        );
        assert_eq!(page.text(), want);
    }
}
