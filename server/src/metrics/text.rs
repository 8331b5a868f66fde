//! The text form that Prometheus reads (exposition format 0.0.4).

use super::families::Family;
use super::histogram::{BOUNDS_SECONDS, HistogramSnapshot};
use std::fmt::{Display, Write};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text as it is written, family by family.
#[derive(Debug, Default)]
pub struct Exposition {
    out: String,
}

impl Exposition {
    /// Begins a family: its samples follow.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        Samples {
            out: &mut self.out,
            family,
        }
    }

    /// The whole text.
    #[must_use]
    pub fn finish(self) -> String {
        self.out
    }
}

/// Where the samples of one family go.
#[derive(Debug)]
pub struct Samples<'a> {
    out: &'a mut String,
    family: &'static Family,
}

impl Samples<'_> {
    /// Writes the one sample of a family without labels.
    pub fn value(&mut self, value: impl Display) {
        self.labelled(&[], value);
    }

    /// Writes the one sample of a family without labels, where it is known.
    pub fn known(&mut self, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(value);
        }
    }

    /// Writes a sample with a value for each label of the family.
    pub fn labelled(&mut self, values: &[&str], value: impl Display) {
        self.sample("", values, None, value);
    }

    /// Writes a histogram.
    pub fn histogram(&mut self, values: &[&str], histogram: &HistogramSnapshot) {
        for (bound, count) in BOUNDS_SECONDS.iter().zip(histogram.buckets) {
            self.sample("_bucket", values, Some(&bound.to_string()), count);
        }
        self.sample("_bucket", values, Some("+Inf"), histogram.count);
        self.sample("_sum", values, None, histogram.sum.as_secs_f64());
        self.sample("_count", values, None, histogram.count);
    }

    fn sample(&mut self, suffix: &str, values: &[&str], bound: Option<&str>, value: impl Display) {
        assert_eq!(
            values.len(),
            self.family.labels.len(),
            "{}: one value for each label",
            self.family.name
        );
        let _ = write!(self.out, "{}{suffix}", self.family.name);
        let labels = self.family.labels.iter().copied().zip(values.iter().copied());
        let mut open = '{';
        for (label, text) in labels.chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.out, "{open}{label}=\"{}\"", escaped(text));
            open = ',';
        }
        let _ = writeln!(self.out, "{} {value}", if open == ',' { "}" } else { "" });
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Histogram;
    use crate::metrics::families::Kind;
    use std::time::Duration;

    static PLAIN: Family = Family {
        name: "a_total",
        kind: Kind::Counter,
        labels: &[],
        help: "What.",
    };
    static LABELLED: Family = Family {
        name: "b",
        kind: Kind::Gauge,
        labels: &["x", "y"],
        help: "What.",
    };
    static TIMES: Family = Family {
        name: "c_seconds",
        kind: Kind::Histogram,
        labels: &[],
        help: "What.",
    };

    #[test]
    fn families_have_their_help_type_and_escaped_labels() {
        let mut text = Exposition::default();
        text.family(&PLAIN).value(7);
        text.family(&LABELLED).labelled(&["a\"b\\c\nd", ""], 0.5);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\na_total 7\n\
                        # HELP b What.\n# TYPE b gauge\nb{x=\"a\\\"b\\\\c\\nd\",y=\"\"} 0.5\n";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn a_histogram_ends_with_everything() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_secs(1));
        let mut text = Exposition::default();
        text.family(&TIMES).histogram(&[], &histogram.snapshot());
        let text = text.finish();
        for line in [
            "c_seconds_bucket{le=\"0.00005\"} 0",
            "c_seconds_bucket{le=\"1\"} 1",
            "c_seconds_bucket{le=\"+Inf\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        assert!(text.ends_with("c_seconds_sum 1\nc_seconds_count 1\n"), "{text}");
    }
}
