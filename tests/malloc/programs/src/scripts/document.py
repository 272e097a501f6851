# Builds, writes, reads and compares a large JSON document, and walks it.
import json, sys

def node(number, depth):
    if depth == 0:
        return [number, number / 7, str(number) * (number % 9), None, number % 2 == 0]
    return {"name": "n%d" % number, "text": "äöü %x " % number * (number % 5),
            "children": [node(number * 3 + i, depth - 1) for i in range(4)]}

documents = [node(number, 5) for number in range(int(sys.argv[1]))]
text = json.dumps(documents, sort_keys=True)
again = json.loads(text)
assert again == documents
print(len(text), sum(map(ord, text[::97])))
counts = {}
for word in text.split('"'):
    counts[word] = counts.get(word, 0) + 1
print(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:20])
pretty = json.dumps(again[::7], indent=1, ensure_ascii=False)
print(len(pretty), json.loads(pretty) == documents[::7])
