//! The one place that reads workers' logs: one run of a worker, through its rotated files, to its end or for as long as it grows.
//!
//! A log is `<worker>.log`, then `.log.1`, `.log.2` … from newer to older. Files are known by inode, so that a rotation in the
//! middle of reading neither repeats nor skips a byte: files are opened from the newest to the oldest, and one that moved
//! meanwhile is met twice and taken once. Following waits for inotify on the very file that is read; nothing polls. The
//! limits of a run are given; what a run is, is decided elsewhere.

mod times;

use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;

use futures_util::Stream;
use futures_util::stream::try_unfold;
use hyper::body::Bytes;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use self::times::{Stamps, Times};
use crate::model::time::Wall;

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Most files of one log that are looked at; a document may keep far fewer.
const FILES_MAX: usize = 1000;

/// Where a worker's log is, for one run of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The current file; rotated ones are beside it as `.1`, `.2` …
    pub file: PathBuf,
    /// Where the run begins, as (inode, offset); absent: at the oldest byte there is.
    pub start: Option<(u64, u64)>,
    /// Where it ended; absent: it has not.
    pub end: Option<(u64, u64)>,
}

/// What is wanted of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Only so many of the last lines.
    pub tail: Option<u64>,
    /// Only lines that came at this time or later, to the second.
    pub since: Option<Wall>,
    /// With the time in front of each line.
    pub stamped: bool,
}

/// Tells when to stop following.
pub type Until = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Read a run's log: what is wanted of it, then, with `follow`, what is written until that future is done.
///
/// The stream ends after its first error. A log that is not there is empty.
pub fn read(place: Place, wanted: Wanted, follow: Option<Until>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let state = Follower { place: Some((place, wanted)), cursor: None, follow, watch: None };
    try_unfold(state, |mut state| async move {
        let chunk = state.next().await?;
        Ok(chunk.map(|bytes| (bytes, state)))
    })
}

/// One file of a log, open, and the part of it that belongs to the run.
struct Piece {
    file: File,
    /// It was the `n`-th file of the log when it was opened.
    n: usize,
    inode: u64,
    from: u64,
    to: Option<u64>,
    times: Times,
}

impl Piece {
    /// Where this piece ends now.
    fn limit(&self) -> io::Result<u64> {
        Ok(self.to.unwrap_or(u64::MAX).min(self.file.metadata()?.len()))
    }

    fn take(&mut self) -> io::Result<Bytes> {
        let room = usize::try_from(self.to.unwrap_or(u64::MAX).saturating_sub(self.from)).unwrap_or(usize::MAX);
        let mut buffer = vec![0; CHUNK_BYTES.min(room)];
        let n = self.file.read_at(&mut buffer, self.from)?;
        buffer.truncate(n);
        self.from += n as u64;
        Ok(buffer.into())
    }
}

/// The files of a log, newest first, each once.
fn files(base: &Path) -> io::Result<Vec<Piece>> {
    let (mut pieces, mut missing): (Vec<Piece>, u32) = (Vec::new(), 0);
    for n in 0..FILES_MAX {
        let mut name = base.as_os_str().to_owned();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        // The directory is the daemon's own; still, a link or a FIFO put there is not followed and does not hang the reader.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = match File::options().read(true).custom_flags(flags).open(name) {
            Ok(file) => file,
            // Between two renames of a rotation one name is free.
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing < 1 => {
                missing += 1;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        missing = 0;
        let meta = file.metadata()?;
        if meta.is_file() && pieces.iter().all(|piece| piece.inode != meta.ino()) {
            pieces.push(Piece { file, n, inode: meta.ino(), from: 0, to: None, times: Times::default() });
        }
    }
    Ok(pieces)
}

/// The pieces of a run, oldest first.
fn run(place: &Place) -> io::Result<VecDeque<Piece>> {
    let mut pieces: VecDeque<Piece> = files(&place.file)?.into();
    if let Some((inode, offset)) = place.end {
        while pieces.front().is_some_and(|piece| piece.inode != inode) {
            pieces.pop_front();
        }
        if let Some(piece) = pieces.front_mut() {
            piece.to = Some(offset);
        }
    }
    pieces.make_contiguous().reverse();
    let begins = |piece: &Piece, inode, offset| piece.inode == inode && piece.file.metadata().is_ok_and(|m| m.len() >= offset);
    if let Some((inode, offset)) = place.start
        && let Some(at) = pieces.iter().position(|piece| begins(piece, inode, offset))
    {
        pieces.drain(..at);
        pieces[0].from = offset;
    }
    Ok(pieces)
}

/// Leave only lines that may be as new as this; where there are none, what is written from now on.
fn keep_new(pieces: &mut VecDeque<Piece>, base: &Path, since: Wall) -> io::Result<()> {
    loop {
        let is_last = pieces.len() == 1;
        let Some(piece) = pieces.front_mut() else { return Ok(()) };
        piece.times.look((base, piece.n), piece.inode);
        let from = times::first_line(&piece.file, &piece.times, (piece.from, since))?;
        if from.is_some() || is_last {
            piece.from = from.map_or_else(|| piece.limit(), Ok)?;
            return Ok(());
        }
        pieces.pop_front();
    }
}

/// Leave only the last lines.
fn keep_last(pieces: &mut VecDeque<Piece>, lines: u64) -> io::Result<()> {
    let mut left = lines;
    // The newline that ends the last line does not begin another.
    let mut last_byte = true;
    for at in (0..pieces.len()).rev() {
        let mut end = pieces[at].limit()?;
        while end > pieces[at].from {
            let begin = end.saturating_sub(CHUNK_BYTES as u64).max(pieces[at].from);
            let mut block = vec![0; usize::try_from(end - begin).unwrap_or(CHUNK_BYTES)];
            let n = pieces[at].file.read_at(&mut block, begin)?;
            for index in (0..n).rev() {
                let newline = block[index] == b'\n';
                if newline && !last_byte {
                    left = left.saturating_sub(1);
                }
                if left == 0 {
                    pieces[at].from = begin + if newline && !last_byte { index as u64 + 1 } else { end - begin };
                    pieces.drain(..at);
                    return Ok(());
                }
                last_byte = false;
            }
            end = begin;
        }
    }
    Ok(())
}

/// A place in a run: blocking, so used from a thread that may block.
struct Cursor {
    base: PathBuf,
    pieces: VecDeque<Piece>,
    current: Option<u64>,
    stamps: Option<Stamps>,
}

impl Cursor {
    fn open(place: &Place, wanted: &Wanted) -> io::Result<Cursor> {
        let mut pieces = run(place)?;
        if let Some(since) = wanted.since {
            keep_new(&mut pieces, &place.file, since)?;
        }
        if let Some(lines) = wanted.tail {
            keep_last(&mut pieces, lines)?;
        }
        Ok(Cursor { base: place.file.clone(), pieces, current: None, stamps: wanted.stamped.then(Stamps::default) })
    }

    /// The next bytes; none at the end of what there is now.
    fn take(&mut self) -> io::Result<Option<Bytes>> {
        while let Some(piece) = self.pieces.front_mut() {
            self.current = Some(piece.inode);
            let from = piece.from;
            let bytes = piece.take()?;
            if !bytes.is_empty() {
                let Some(stamps) = &mut self.stamps else { return Ok(Some(bytes)) };
                piece.times.look((&self.base, piece.n), piece.inode);
                let stamped = stamps.put((&bytes, from), &piece.times, times::own(&piece.file)?);
                piece.times.pass(piece.from);
                return Ok(Some(stamped));
            }
            if self.pieces.len() > 1 {
                self.pieces.pop_front();
            } else {
                break;
            }
        }
        Ok(None)
    }

    /// Find files that came after the current one. The writer is done with a file before the next one exists, so what is
    /// left of the current one is read first.
    fn look_on(&mut self) -> io::Result<bool> {
        let newer = files(&self.base)?.into_iter().take_while(|piece| Some(piece.inode) != self.current);
        let before = self.pieces.len();
        let mut newer: Vec<Piece> = newer.filter(|piece| self.pieces.iter().all(|known| known.inode != piece.inode)).collect();
        newer.reverse();
        self.pieces.extend(newer);
        Ok(self.pieces.len() > before)
    }
}

struct Follower {
    place: Option<(Place, Wanted)>,
    cursor: Option<Cursor>,
    follow: Option<Until>,
    watch: Option<Watch>,
}

impl Follower {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        if let Some((place, wanted)) = self.place.take() {
            if self.follow.is_some() {
                self.watch = Watch::new(place.file.parent().unwrap_or(Path::new("."))).ok();
            }
            self.cursor = Some(off_thread(move || Cursor::open(&place, &wanted)).await?);
        }
        loop {
            let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
            // Watched before it is read, so that no write falls between the look and the wait.
            if let Some(watch) = &mut self.watch {
                watch.on(cursor.pieces.back())?;
            }
            let follows = self.follow.is_some() && self.watch.is_some();
            let (cursor, bytes, more) = off_thread(move || {
                let bytes = cursor.take()?;
                let more = bytes.is_none() && follows && cursor.look_on()?;
                Ok((cursor, bytes, more))
            })
            .await?;
            self.cursor = Some(cursor);
            if bytes.is_some() {
                return Ok(bytes);
            }
            if more {
                continue;
            }
            let (Some(until), Some(watch)) = (&mut self.follow, &mut self.watch) else { return Ok(None) };
            tokio::select! {
                () = until => self.follow = None,
                changed = watch.changed() => changed?,
            }
        }
    }
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Tells when the file that is read grows, or another takes its place.
struct Watch {
    inotify: AsyncFd<OwnedFd>,
    on: Option<(u64, i32)>,
}

impl Watch {
    fn new(directory: &Path) -> io::Result<Watch> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let arrivals = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::ONLYDIR;
        inotify::add_watch(&fd, directory, arrivals)?;
        // Its contract is that the descriptor stays open and the same while registered: an `OwnedFd` that is never replaced does.
        #[expect(deprecated, reason = "the newer function is unsafe, and unsafe code has its one file elsewhere")]
        let inotify = AsyncFd::new(fd)?;
        Ok(Watch { inotify, on: None })
    }

    fn on(&mut self, piece: Option<&Piece>) -> io::Result<()> {
        let Some(piece) = piece.filter(|piece| self.on.is_none_or(|(inode, _)| inode != piece.inode)) else { return Ok(()) };
        let path = format!("/proc/self/fd/{}", piece.file.as_raw_fd());
        let watch = inotify::add_watch(self.inotify.get_ref(), path, inotify::WatchFlags::MODIFY)?;
        if let Some((_, old)) = self.on.replace((piece.inode, watch)) {
            // Already gone when its file was deleted.
            let _ = inotify::remove_watch(self.inotify.get_ref(), old);
        }
        Ok(())
    }

    async fn changed(&mut self) -> io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        loop {
            let read = rustix::io::read(self.inotify.as_fd(), &mut buffer).map(|(filled, _)| filled.len());
            match read {
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use futures_util::TryStreamExt;

    use super::*;

    async fn text(place: &Place, tail: Option<u64>) -> String {
        let chunks: Vec<Bytes> = read(place.clone(), Wanted { tail, ..Wanted::default() }, None).try_collect().await.unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }

    /// `w.log.2`, `w.log.1`, `w.log` with these contents.
    fn rotated(directory: &Path, contents: &[String]) -> Place {
        let file = directory.join("w.log");
        for (n, content) in contents.iter().rev().enumerate() {
            let name = if n == 0 { "w.log".into() } else { format!("w.log.{n}") };
            fs::write(directory.join(name), content).unwrap();
        }
        Place { file, start: None, end: None }
    }

    #[tokio::test]
    async fn the_last_lines_are_the_last_lines_wherever_files_are_cut() {
        let line = |n: usize| format!("{n} {}\n", "x".repeat(n * 37 % 3000));
        let whole: String = (0..120).map(line).collect();
        for (cut, unfinished) in [(0, ""), (1, "end"), (70_000, ""), (131_072, "half"), (whole.len(), "")] {
            let directory = tempfile::tempdir().unwrap();
            let (older, newer) = whole.split_at(cut);
            let (old, middle) = older.split_at(older.len() / 2);
            let place = rotated(directory.path(), &[old.into(), middle.into(), format!("{newer}{unfinished}")]);
            let all = whole.clone() + unfinished;
            assert_eq!(text(&place, None).await, all);
            let lines: Vec<&str> = all.split_inclusive('\n').collect();
            for tail in [0, 1, 2, 50, lines.len() - 1, lines.len(), 500] {
                let expected = lines[lines.len().saturating_sub(tail)..].concat();
                assert!(text(&place, Some(tail as u64)).await == expected, "cut {cut}, tail {tail}");
            }
        }
    }

    #[tokio::test]
    async fn a_run_has_limits() {
        let directory = tempfile::tempdir().unwrap();
        let place = rotated(directory.path(), &["aaa\n".into(), "bbb\nccc\n".into(), "ddd\neee\n".into()]);
        let inode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().ino();
        let (old, middle, new) = (inode("w.log.2"), inode("w.log.1"), inode("w.log"));
        for (start, end, expected) in [
            (Some((middle, 4)), Some((new, 4)), "ccc\nddd\n"),
            (Some((middle, 4)), None, "ccc\nddd\neee\n"),
            (Some((old, 4)), Some((middle, 4)), "bbb\n"),
            (None, Some((old, 2)), "aa"),
            // What was rotated away: the run begins at the oldest byte there is, and one that ended there is empty.
            (Some((1, 0)), Some((middle, 4)), "aaa\nbbb\n"),
            (Some((1, 0)), Some((1, 9)), ""),
        ] {
            assert_eq!(text(&Place { start, end, ..place.clone() }, None).await, expected, "{start:?} {end:?}");
        }
        assert_eq!(text(&Place { file: directory.path().join("no.log"), ..place }, Some(3)).await, "");
    }

    #[tokio::test]
    async fn following_loses_nothing_over_many_rotations() {
        let directory = tempfile::tempdir().unwrap();
        let place = rotated(directory.path(), &[String::new()]);
        let file = place.file.clone();
        let (done, until) = tokio::sync::oneshot::channel::<()>();
        let writer = std::thread::spawn(move || {
            for rotation in 0..20 {
                let mut out = File::options().append(true).create(true).open(&file).unwrap();
                for n in 0..2000 {
                    writeln!(out, "{}", rotation * 2000 + n).unwrap();
                }
                for n in (0..rotation).rev() {
                    let name = |n| directory.path().join(format!("w.log.{n}"));
                    fs::rename(name(n + 1), name(n + 2)).unwrap();
                }
                fs::rename(&file, directory.path().join("w.log.1")).unwrap();
            }
            done.send(()).unwrap();
            directory
        });
        let until: Until = Box::pin(async move { drop(until.await) });
        let chunks: Vec<Bytes> = read(place, Wanted::default(), Some(until)).try_collect().await.unwrap();
        let expected: String = (0..40_000).map(|n| format!("{n}\n")).collect();
        assert!(chunks.concat() == expected.as_bytes());
        writer.join().unwrap();
    }
}
