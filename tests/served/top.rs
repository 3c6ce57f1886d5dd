//! `ctl top -w`: rows come and go when workers do, not when it is time for new figures.

use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::mpsc;

use serde_json::Value;
use weir::model::status::{Kind, Phase};

use super::served::{self, PATIENCE, World, pool, worker};

/// What a program shows, one after the other. It is ended with this.
struct Shown {
    child: Child,
    all: mpsc::Receiver<Value>,
}

impl Shown {
    fn of(world: &World, words: &str) -> Shown {
        let mut command = world.command();
        let mut child = command.args(words.split(' ')).args(["-o", "json"]).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (tell, all) = mpsc::channel();
        std::thread::spawn(move || {
            let shown = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
            shown.map_while(Result::ok).all(|value| tell.send(value).is_ok())
        });
        Shown { child, all }
    }

    fn until(&self, what: &str, so: impl Fn(&[Value]) -> bool) {
        let mut last = Value::Null;
        loop {
            last = self.all.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: {last}"));
            if so(last["items"].as_array().unwrap()) {
                return;
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

#[test]
fn rows_come_and_go_when_workers_do() {
    let world = World::furnished();
    let shown = Shown::of(&world, "top workers -w");
    shown.until("the first", |rows| names(rows) == ["web-0", "web-1"]);
    let pools = Shown::of(&world, "top pools web -w");
    pools.until("the sum", |rows| rows.len() == 1 && rows[0]["workers"] == 2);
    let begun = served::now();
    for _ in 0..6 {
        world.board.put(worker("web", 7, Phase::Ready));
        shown.until("one more", |rows| names(rows) == ["web-0", "web-1", "web-7"]);
        pools.until("one more in the sum", |rows| rows[0]["workers"] == 3);
        world.board.remove(Kind::Worker, "web-7");
        shown.until("one less", |rows| names(rows) == ["web-0", "web-1"]);
        pools.until("one less in the sum", |rows| rows[0]["workers"] == 2);
    }
    // Of twelve changes that are noticed with the figures, each takes two seconds.
    let took = served::now().0 - begun.0;
    assert!(took < 12_000, "{took} ms");
    shown.until("figures come too", |rows| rows.iter().all(|row| row["cpuMillicores"].is_u64()));
}

#[test]
fn pools_come_and_go_and_the_end_of_the_daemon_is_told() {
    let mut world = World::furnished();
    let mut shown = Shown::of(&world, "top pools -w");
    shown.until("both", |rows| names(rows) == ["batch", "web"]);
    world.board.remove(Kind::Pool, "batch");
    shown.until("one", |rows| names(rows) == ["web"]);
    world.board.put(pool("fresh", 0, 0));
    shown.until("two", |rows| names(rows) == ["fresh", "web"]);
    assert!(world.end());
    assert_eq!(shown.child.wait().unwrap().code(), Some(3));
}
