# What the trace `python` is of: documents as a web service has them, through JSON and dictionaries.
import json
import random

random.seed(1)
words = ["alloc", "buddy", "cache", "slab", "zone", "frame", "order", "heap", "arena", "bitmap"]


def document(number):
    return {
        "id": number,
        "name": " ".join(random.choices(words, k=random.randint(1, 8))),
        "tags": random.sample(words, random.randint(0, 6)),
        "scores": [random.random() for _ in range(random.randint(0, 12))],
        "owner": {"id": random.randint(0, 500), "mail": f"{random.choice(words)}@example.org"},
    }


documents = [document(number) for number in range(800)]
by_owner = {}
for text in [json.dumps(document) for document in documents]:
    parsed = json.loads(text)
    by_owner.setdefault(parsed["owner"]["id"], []).append(parsed)
for owner in random.sample(sorted(by_owner), len(by_owner) // 2):
    del by_owner[owner]
totals = {owner: sum(sum(one["scores"]) for one in ones) for owner, ones in by_owner.items()}
index = {}
for ones in by_owner.values():
    for one in ones:
        for word in one["name"].split():
            index.setdefault(word, set()).add(one["id"])
print(len(json.dumps(list(by_owner.values()), indent=1)), len(totals), sum(map(len, index.values())))
