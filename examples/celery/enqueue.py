"""Put tasks into the queue: enqueue.py HOW_MANY [MIN_MS MAX_MS [FIRST_NUMBER]]"""
import random
import sys

from tasks import work

many, least, most, first = (int(word) for word in (sys.argv[1:] + ["300", "50", "500", "0"][len(sys.argv) - 1:]))
for number in range(first, first + many):
    work.delay(number, random.randint(least, most))
