//! When the lines of a log came, as its shim has told: from where on they are as new as wanted, and the time in front of each.
//!
//! A time is that of the last entry before a line: at most a second early. Where there are no entries (a file that was written to
//! for less than a second, or by a weir that kept none) the time that the file was written to last stands for all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hyper::body::Bytes;

use crate::model::time::Wall;
use crate::shim::times::{APART_MS, ENTRY, SUFFIX, head};

/// Bytes looked at for the end of a line at once.
const BLOCK: usize = 8 * 1024;

/// The times of one file of a log.
#[derive(Default)]
pub(super) struct Times {
    /// The file with them, open, once there is one; it may be there later.
    file: Option<File>,
    read: u64,
    /// From this place on, this time.
    entries: Vec<(u64, i64)>,
}

/// The names that a file with times may have by now: the log's may have been moved on since it was opened.
fn names(base: &Path, n: usize) -> [PathBuf; 2] {
    [n, n + 1].map(|n| {
        let mut name = base.as_os_str().to_owned();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        name.push(SUFFIX);
        PathBuf::from(name)
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

impl Times {
    /// Read what is there now, or has come since: of the log's file of this inode, that is or was the `n`-th.
    pub(super) fn look(&mut self, (base, n): (&Path, usize), inode: u64) {
        if self.file.is_none() {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
            let opened =
                names(base, n).into_iter().filter_map(|name| File::options().read(true).custom_flags(flags).open(name).ok());
            let is_it = |file: &File| {
                let mut first = [0; ENTRY];
                file.read_exact_at(&mut first, 0).is_ok() && first == head(inode)
            };
            self.file = opened.into_iter().find(is_it);
            self.read = ENTRY as u64;
        }
        let Some(file) = &self.file else { return };
        let mut block = [0; ENTRY * 512];
        while let Ok(n) = file.read_at(&mut block, self.read)
            && n >= ENTRY
        {
            let whole = n - n % ENTRY;
            let entry = |entry: &[u8]| (number(&entry[..6]), i64::try_from(number(&entry[6..])).unwrap_or(0));
            self.entries.extend(block[..whole].chunks_exact(ENTRY).map(entry));
            self.read += whole as u64;
        }
    }

    /// When the byte at this place came; `own`: when the file was written to last.
    fn at(&self, place: u64, own: i64) -> Wall {
        let later = self.entries.partition_point(|(from, _)| *from <= place);
        Wall(self.entries.get(later.saturating_sub(1)).map_or(own, |(_, wall)| *wall))
    }

    /// From which place on bytes may be as new as this; none: nothing is.
    fn from(&self, since: Wall, own: i64) -> Option<u64> {
        if self.entries.is_empty() {
            return (own >= since.0).then_some(0);
        }
        let new = |wall: i64| wall.saturating_add_unsigned(APART_MS) > since.0;
        let first = self.entries.iter().find(|(_, wall)| new(*wall));
        // A weir that keeps no times may have written behind the last one.
        first.or(self.entries.last().filter(|_| own >= since.0)).map(|(from, _)| *from)
    }

    /// Nobody asks any more for what is before this place.
    pub(super) fn pass(&mut self, place: u64) {
        let passed = self.entries.partition_point(|(from, _)| *from <= place).saturating_sub(1);
        self.entries.drain(..passed);
    }
}

/// When a file was written to last, in ms.
pub(super) fn own(file: &File) -> io::Result<i64> {
    let meta = file.metadata()?;
    Ok(meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000)
}

/// The place of the first line in `file` that begins at `from` or later and is as new as `since`; none: there is none yet.
pub(super) fn first_line(file: &File, times: &Times, (from, since): (u64, Wall)) -> io::Result<Option<u64>> {
    let Some(new) = times.from(since, own(file)?) else { return Ok(None) };
    if new <= from {
        return Ok(Some(from));
    }
    // What came then may go on with a line that was begun before.
    let mut at = new - 1;
    let mut block = [0; BLOCK];
    loop {
        let n = file.read_at(&mut block, at)?;
        if n == 0 {
            return Ok(Some(at));
        }
        if let Some(end) = block[..n].iter().position(|byte| *byte == b'\n') {
            return Ok(Some(at + end as u64 + 1));
        }
        at += n as u64;
    }
}

/// Puts the time in front of each line.
#[derive(Default)]
pub(super) struct Stamps {
    /// The next byte goes on with a line.
    within: bool,
}

impl Stamps {
    /// These bytes of a file with the times of the lines that begin in them; `from`: the place of the first.
    pub(super) fn put(&mut self, (bytes, from): (&Bytes, u64), times: &Times, own: i64) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len() + 32);
        let mut place = from;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.within {
                out.extend_from_slice(stamp(times.at(place, own)).as_bytes());
                out.push(b' ');
            }
            out.extend_from_slice(line);
            place += line.len() as u64;
            self.within = line.last() != Some(&b'\n');
        }
        out.into()
    }
}

/// To the second: nothing more is known.
fn stamp(at: Wall) -> String {
    Wall(at.0 - at.0.rem_euclid(1000)).to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::times::entry;

    fn times(entries: &[(u64, i64)]) -> Times {
        Times { entries: entries.to_vec(), ..Times::default() }
    }

    #[test]
    fn a_line_has_the_time_of_the_entry_before_it() {
        let some = times(&[(0, 1_000_000), (10, 1_005_000), (20, 1_006_500)]);
        for (place, wall) in [(0, 1_000_000), (9, 1_000_000), (10, 1_005_000), (19, 1_005_000), (500, 1_006_500)] {
            assert_eq!(some.at(place, 7), Wall(wall), "{place}");
        }
        assert_eq!(times(&[]).at(3, 7), Wall(7));
        for (since, from) in [(0, Some(0)), (1_000_999, Some(0)), (1_001_000, Some(10)), (1_007_499, Some(20)), (1_007_500, None)]
        {
            assert_eq!(some.from(Wall(since), 0), from, "{since}");
        }
        assert_eq!([times(&[]).from(Wall(7), 7), times(&[]).from(Wall(8), 7)], [Some(0), None]);
    }

    #[test]
    fn times_are_those_of_their_file_and_come_in_while_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("w.log");
        let (mut some, file) = (Times::default(), dir.path().join("w.log.1.times"));
        std::fs::write(&file, [head(7), entry(0, 1000), entry(5, 2000)].concat()).unwrap();
        some.look((&base, 1), 8);
        assert_eq!(some.entries, [], "those of another file");
        some.look((&base, 0), 7);
        assert_eq!(some.entries, [(0, 1000), (5, 2000)], "it was moved on");
        let torn = [&[head(7), entry(0, 1000), entry(5, 2000), entry(9, 3000)].concat()[..], &[1, 2]].concat();
        std::fs::write(&file, torn).unwrap();
        some.look((&base, 0), 7);
        assert_eq!(some.entries, [(0, 1000), (5, 2000), (9, 3000)]);
    }

    #[test]
    fn lines_are_stamped_where_they_begin_however_they_are_cut() {
        let some = times(&[(0, 1_000_250), (6, 61_000_000)]);
        let whole = Bytes::from_static(b"one\ntwo\nthree");
        let mut expected = None;
        for cut in 0..whole.len() {
            let (mut stamps, (a, b)) = (Stamps::default(), (whole.slice(..cut), whole.slice(cut..)));
            let out = [stamps.put((&a, 0), &some, 0), stamps.put((&b, cut as u64), &some, 0)].concat();
            assert_eq!(*expected.get_or_insert(out.clone()), out, "cut at {cut}");
        }
        let text = String::from_utf8(expected.unwrap()).unwrap();
        assert_eq!(text, "1970-01-01T00:16:40Z one\n1970-01-01T00:16:40Z two\n1970-01-01T16:56:40Z three");
    }

    #[test]
    fn what_is_new_begins_with_a_line() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, b"aaaa\nbbbb\ncccc\n").unwrap();
        let some = times(&[(0, 1000), (7, 5000), (10, 9000)]);
        let from = |place: u64, since: i64| first_line(&file, &some, (place, Wall(since))).unwrap();
        assert_eq!(
            [from(0, 1000), from(2, 1000), from(0, 5000), from(0, 9000), from(0, i64::MAX)],
            [Some(0), Some(2), Some(10), Some(10), None]
        );
        assert_eq!(from(12, 5000), Some(12));
    }
}
