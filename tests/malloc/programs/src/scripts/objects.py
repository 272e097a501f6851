# Objects, dictionaries, strings and threads, with every object of Python's own from malloc.
import sys, threading, hashlib

class Node:
    def __init__(self, key):
        self.key, self.left, self.right = key, None, None

def insert(root, key):
    while True:
        side = "left" if key < root.key else "right"
        child = getattr(root, side)
        if child is None:
            setattr(root, side, Node(key))
            return
        root = child

def work(seed, count, results):
    state, root, words = seed, Node(1 << 31), {}
    for number in range(count):
        state = (state * 1103515245 + 12345) & 0xFFFFFFFF
        insert(root, state)
        words.setdefault("%x" % (state % 5003), []).append((number, state, b"x" * (state % 700)))
        if number % 11 == 0:
            words.pop("%x" % (number % 5003), None)
    digest = hashlib.sha256()
    for word in sorted(words):
        for number, value, data in words[word]:
            digest.update(b"%d %d %d" % (number, value, len(data)))
    results[seed] = digest.hexdigest()

results = {}
threads = [threading.Thread(target=work, args=(seed, int(sys.argv[1]), results)) for seed in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(sorted(results.items()))
matrix = [[row * column % 17 for column in range(300)] for row in range(300)]
print(sum(sum(row) for row in zip(*matrix)), (7 ** 60000).bit_length(), hex(3 ** 40000)[-20:])
