//! Which slot of a cluster a key belongs to.

/// Slots of a cluster.
pub(super) const SLOTS: u16 = 16384;

/// The slot of `key`: the checksum of its hash tag, or of all of it.
pub(super) fn of_key(key: &[u8]) -> u16 {
    crc16(tag(key).unwrap_or(key)) % SLOTS
}

/// What stands between the first `{` and the first `}` after it, unless that is nothing.
pub(super) fn tag(key: &[u8]) -> Option<&[u8]> {
    let start = key.iter().position(|byte| *byte == b'{')? + 1;
    let length = key[start..].iter().position(|byte| *byte == b'}')?;
    (length > 0).then(|| &key[start..start + length])
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (crc << 8) ^ TABLE[usize::from((crc >> 8) ^ u16::from(*byte))]
    })
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index: u16 = 0;
    while index < 256 {
        let mut crc = index << 8;
        let mut bit = 0;
        while bit < 8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::{crc16, of_key, tag};

    #[test]
    fn slots_are_those_that_redis_computes() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(of_key(b"foo"), 12182);
        assert_eq!(of_key(b"bar"), 5061);
        assert_eq!(of_key(b"{foo}:anything"), of_key(b"foo"));
    }

    #[test]
    fn only_a_tag_with_something_in_it_counts() {
        assert_eq!(tag(b"a{b}c{d}"), Some(&b"b"[..]));
        assert_eq!(tag(b"a{{b}}"), Some(&b"{b"[..]));
        for none in [&b"a{}b{c}"[..], b"a{b", b"a}b{", b""] {
            assert_eq!(tag(none), None);
        }
    }
}
