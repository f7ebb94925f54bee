//! Figures that nobody counts: read from somewhere each time they are asked for.

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// What was read for one answer. What could not be read is left out.
#[derive(Debug, Default)]
pub struct Readings(Registry);

/// One name's values, all of one type.
#[derive(Debug)]
struct Values {
    kind: MetricType,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    One(f64),
    /// One for each value of this label.
    Each(&'static str, Vec<(String, f64)>),
}

impl Readings {
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) {
        self.one(MetricType::Gauge, name, help, value.into());
    }

    /// `name` without `_total`, which is put behind it.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) {
        self.one(MetricType::Counter, name, help, value.into());
    }

    /// A gauge for each value of `label`.
    pub fn gauges(&mut self, name: &str, help: &str, label: &'static str, rows: Vec<(String, f64)>) {
        self.each(MetricType::Gauge, name, help, Rows::Each(label, rows));
    }

    /// A counter for each value of `label`.
    pub fn counters(&mut self, name: &str, help: &str, label: &'static str, rows: Vec<(String, f64)>) {
        self.each(MetricType::Counter, name, help, Rows::Each(label, rows));
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.0
    }

    fn one(&mut self, kind: MetricType, name: &str, help: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.each(kind, name, help, Rows::One(value));
        }
    }

    fn each(&mut self, kind: MetricType, name: &str, help: &str, rows: Rows) {
        if matches!(&rows, Rows::Each(_, rows) if rows.is_empty()) {
            return;
        }
        self.0.register(name, help, Values { kind, rows });
    }
}

impl EncodeMetric for Values {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let write = |mut encoder: MetricEncoder<'_>, value: f64| match self.kind {
            MetricType::Counter => encoder.encode_counter::<[(&str, &str); 0], _, f64>(&value, None),
            _ => encoder.encode_gauge(&value),
        };
        match &self.rows {
            Rows::One(value) => write(encoder, *value),
            Rows::Each(label, rows) => rows.iter().try_for_each(|(of, value)| {
                let labels = [(*label, of.as_str())];
                write(encoder.encode_family(&labels)?, *value)
            }),
        }
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn readings_are_written_under_their_labels_and_what_is_missing_is_not() {
        let mut readings = Readings::default();
        readings.gauge("a_bytes", "A", 1.5);
        readings.gauge("b_bytes", "B", None);
        readings.counter("c_seconds", "C", 2.0);
        let disks = [("sda", 1.0), ("s\"d\\b\n", 2.0)].map(|(disk, value)| (disk.to_owned(), value)).to_vec();
        readings.counters("d_bytes", "D", "device", disks);
        readings.gauges("no", "N", "window", Vec::new());
        readings.gauges("e", "E", "window", vec![("1m".to_owned(), 0.25)]);
        let text = Metrics::default().render(&readings);
        let (_, ours) = text.split_once("# HELP a_bytes").unwrap();
        assert_eq!(
            ours,
            " A.\n# TYPE a_bytes gauge\na_bytes 1.5\n\
             # HELP c_seconds C.\n# TYPE c_seconds counter\nc_seconds_total 2.0\n\
             # HELP d_bytes D.\n# TYPE d_bytes counter\nd_bytes_total{device=\"sda\"} 1.0\n\
             d_bytes_total{device=\"s\\\"d\\\\b\\n\"} 2.0\n\
             # HELP e E.\n# TYPE e gauge\ne{window=\"1m\"} 0.25\n# EOF\n"
        );
    }
}
