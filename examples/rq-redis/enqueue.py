"""Put jobs into the queue: enqueue.py HOW_MANY [MIN_MS MAX_MS [FIRST_NUMBER]]"""
import os
import random
import sys

from redis import Redis
from rq import Queue

many, least, most, first = (int(word) for word in (sys.argv[1:] + ["300", "50", "500", "0"][len(sys.argv) - 1:]))
jobs = [
    Queue.prepare_data("tasks.work", (number, random.randint(least, most)), result_ttl=60)
    for number in range(first, first + many)
]
Queue("default", connection=Redis.from_url(os.environ["REDIS_URL"])).enqueue_many(jobs)
