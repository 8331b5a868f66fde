//! Which partition of `__consumer_offsets` keeps a group.

/// The name of the internal topic.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// The partition of `group_id` among `partitions`: Kafka's rule, the hash of a Java string without its sign, so that tools
/// which read the topic look in the same place.
#[must_use]
pub fn partition_for(group_id: &str, partitions: i32) -> i32 {
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    // The absolute value of the smallest number does not fit; Kafka takes 0 for it.
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_javas_string_hash_without_its_sign() {
        // The hashes are those of java.lang.String.
        assert_eq!(partition_for("", 50), 0);
        assert_eq!(partition_for("hello", 50), 99_162_322 % 50);
        assert_eq!(partition_for("group", 50), 98_629_247 % 50);
        assert_eq!(partition_for("console-consumer-1", 1), 0);
    }

    #[test]
    fn the_smallest_hash_maps_to_partition_zero() {
        // A well-known string whose hash is the smallest 32-bit number.
        assert_eq!(partition_for("polygenelubricants", 50), 0);
    }

    #[test]
    fn characters_beyond_the_basic_plane_count_as_two_units() {
        let units: Vec<u16> = "\u{1F600}".encode_utf16().collect();
        let expected = i32::from(units[0]) * 31 + i32::from(units[1]);
        assert_eq!(partition_for("\u{1F600}", 1_000_000_007), expected);
    }
}
