//! As much of protobuf as kubectl forces on a server: reading fields of what it sends, writing messages that it reads.
//!
//! No schema and no types: fields are numbers, messages are bytes. What cannot be read is not there.

/// How Kubernetes' protobuf begins.
const MAGIC: &[u8] = b"k8s\0";

/// The message in Kubernetes' envelope; none where it is something else.
pub fn unwrapped(bytes: &[u8]) -> Option<&[u8]> {
    field(bytes.strip_prefix(MAGIC)?, 2)
}

/// The bytes of the last field of a number that has any: of repeated ones the last counts.
pub fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut found = None;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match key & 7 {
            0 => drop(varint(&mut message)?),
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                if key >> 3 == wanted {
                    found = Some(bytes);
                }
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    found
}

/// A field of bytes, to be put behind others. A message of ours is its fields, one behind the other.
pub fn written(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 0x7f {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_or_not() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1a, 0x00];
        assert_eq!(field(&message, 2), Some(&b"hi"[..]));
        assert_eq!(field(&message, 3), Some(&b""[..]));
        assert_eq!((field(&message, 1), field(&message, 4)), (None, None));
        for bytes in [&b""[..], b"hi", &[7; 127], &[7; 128], &[7; 70_000]] {
            assert_eq!(field(&[written(3, b"before"), written(2, bytes), written(4, b"behind")].concat(), 2), Some(bytes));
        }
        assert_eq!(unwrapped(b"{\"kind\": 1}"), None);
        // Whatever is cut off or made up is read as nothing, in bounded time.
        for end in 0..message.len() {
            let _any = field(&message[..end], 2);
        }
        for bad in [&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..], &[0x12, 0x7f, 1], &[0x0f]] {
            assert_eq!(field(bad, 2), None);
        }
    }
}
