//! "Did you mean": the nearest of the names that would have been accepted.

/// The candidate nearest to what was written, if one is near enough to be a slip of the pen.
pub(super) fn nearest<'a>(written: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let written = plain(written);
    candidates
        .map(|name| (strsim::damerau_levenshtein(&written, &plain(name)), name))
        .filter(|(distance, name)| *distance <= (name.len() / 3).max(1))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_finds_none() {
        let names = ["data_dir", "id", "cluster_id"];
        for (written, expected) in [
            ("data-dir", Some("data_dir")),
            ("datadir", Some("data_dir")),
            ("DATA_DIR", Some("data_dir")),
            ("clusterid", Some("cluster_id")),
            ("cluster_name", None),
            ("zebra", None),
        ] {
            assert_eq!(nearest(written, names.into_iter()), expected, "{written}");
        }
    }
}
