#!/usr/bin/env python3
"""Celery's own --autoscale=6,1 and a weir pool of Celery workers, on the same jobs, one after the other.

  tests/bench/celery_autoscale.py [--jobs 2000] [--ms 50 500] [--weir target/release/weir]

Worker-seconds are the seconds of every process that can run tasks, from the first job until the pool is back at one worker;
Celery's own main process comes on top. `tests/run --only queues` makes the virtual environment.
"""
import pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "queues"))
import drive

parser = drive.options(__doc__)
parser.set_defaults(jobs=2000, ms=[50, 500], weir=drive.ROOT / "target/release/weir")
given = parser.parse_args()
drive.under_weir("celery", given)
drive.under_autoscale(given)
