//! Bytes of the wire: a length, a kind, and fields in a fixed order, all little-endian.
//!
//! Reading is total: whatever comes is a value or [`Malformed`]. A count or length that the bytes do not bear is refused
//! before anything is allocated for it.

/// The largest message: arguments and environment together are limited to 2 MiB by the kernel.
pub const MESSAGE_MAX: usize = 4 << 20;

/// A message that is not whole or not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Builds one message.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }
    pub(super) fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    pub(super) fn i64(&mut self, n: i64) {
        self.u64(n.cast_unsigned());
    }
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.u64(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    pub(super) fn list(&mut self, items: &[Vec<u8>]) {
        self.u64(items.len() as u64);
        items.iter().for_each(|item| self.bytes(item));
    }
    pub(super) fn maybe(&mut self, n: Option<i32>) {
        self.u64(u64::from(n.is_some()));
        self.i64(i64::from(n.unwrap_or(0)));
    }
    pub(super) fn done(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len() - 4).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

/// Reads one message's fields; what is missing at the end reads as zero.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let (head, rest) = self.0.split_first_chunk::<8>().ok_or(Malformed)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*head))
    }
    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(self.u64()?.cast_signed())
    }
    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        i32::try_from(self.i64()?).map_err(|_| Malformed)
    }
    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| Malformed)
    }
    pub(super) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.u64()? != 0)
    }
    pub(super) fn pair(&mut self) -> Result<(u64, u64), Malformed> {
        Ok((self.u64()?, self.u64()?))
    }
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u64()?).map_err(|_| Malformed)?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(head)
    }
    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        Ok(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
    pub(super) fn list(&mut self) -> Result<Vec<Vec<u8>>, Malformed> {
        let count = self.u64()?;
        // Each item takes at least its length's eight bytes: a lying count cannot make us allocate.
        if count > self.0.len() as u64 / 8 {
            return Err(Malformed);
        }
        (0..count).map(|_| self.bytes().map(<[u8]>::to_vec)).collect()
    }
    pub(super) fn maybe(&mut self) -> Result<Option<i32>, Malformed> {
        let there = self.bool()?;
        let n = self.i32()?;
        Ok(there.then_some(n))
    }
}

/// A message's kind, its body, and how many bytes it took.
pub type Message<'a> = (u8, &'a [u8], usize);

/// The first whole message in `buffer` and how many bytes it took; `None`: more bytes are needed.
///
/// # Errors
/// [`Malformed`] for a length that no message has.
pub fn split(buffer: &[u8]) -> Result<Option<Message<'_>>, Malformed> {
    let Some((head, rest)) = buffer.split_first_chunk::<4>() else { return Ok(None) };
    let length = usize::try_from(u32::from_le_bytes(*head)).map_err(|_| Malformed)?;
    if length == 0 || length > MESSAGE_MAX {
        return Err(Malformed);
    }
    Ok(rest.get(..length).map(|message| (message[0], &message[1..], 4 + length)))
}
