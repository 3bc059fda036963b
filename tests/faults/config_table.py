"""Configs that are wrong, and the words with which each is refused."""

import itertools

_MANY = ", ".join(str(n) for n in range(1, 10_000))

# Name -> the YAML, and everything that the message must have in it.
GOLDEN: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "python tag": (
        "seed: !!python/object/apply:os.system [touch canary]",
        ("c.yaml:1:7: tag 'tag:yaml.org,2002:python/object/apply:os.system': only plain data",),
    ),
    "python name": (
        "seed: !!python/name:os.system",
        ("c.yaml:1:7: tag 'tag:yaml.org,2002:python/name:os.system'",),
    ),
    "own tag": ("seed: !x 1", ("c.yaml:1:7: tag '!x': only plain data is read",)),
    "tag with an escape": ("seed: !x%1B[2J 1", ("c.yaml:1:",)),
    "tag directive": ("%TAG ! tag:x,2000:\n---\nseed: !x 1", ("c.yaml:3:7: tag 'tag:x,2000:x'",)),
    "anchor bomb": (
        "a: &a [x, x]\n"
        + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in itertools.pairwise("abcdefghi")),
        ("c.yaml:1:4: anchor &a", "c.yaml:2:8: alias *a", "c.yaml:9:12: alias *h"),
    ),
    "recursion": (
        "a: &a\n  b: *a",
        ("c.yaml:1:4: anchor &a: anchors and aliases are not read", "c.yaml:2:6: alias *a"),
    ),
    "merge key": ("a: &a {x: 1}\ntrain:\n  <<: *a", ("c.yaml:3:7: alias *a",)),
    "5,000 digits": ("seed: " + "9" * 5000, ("c.yaml:1:7: an integer of 5,000 digits",)),
    "5,000 hexadecimal digits": ("seed: 0x" + "f" * 5000, ("c.yaml:1:7: an integer of 5,002",)),
    "5,000 digits, then a point": (
        "train: {lr: " + "9" * 5000 + ".0}",
        ("c.yaml:1:9: train.optimizer.lr=inf must be a finite number",),
    ),
    "2,000 deep in brackets": ("[" * 2000 + "]" * 2000, ("c.yaml:1:17: nested more than 16",)),
    "2,000 deep in braces": ("{a: " * 2000 + "}" * 2000, ("nested more than 16 deep",)),
    "2,000 deep in dashes": ("- " * 2000 + "a", ("nested more than 16 deep",)),
    "2,000 deep in lines": (
        "".join(" " * i + "a:\n" for i in range(300)),
        ("nested more than 16 deep",),
    ),
    "20,000 question marks": ("? " * 20_000, ("nested more than 16 deep",)),
    "duplicate keys": (
        "seed: 1\ntrain: {lr: 1.0, lr: 2.0}\nseed: 2",
        ("c.yaml:2:18: key 'lr' stands twice", "c.yaml:3:1: key 'seed' stands twice"),
    ),
    "unknown keys": (
        "sede: 1\ntrain:\n  epoch: 3\ncodec: {wdith: 1}",
        (
            "c.yaml:1:1: unknown key 'sede'; did you mean 'seed'?",
            "c.yaml:3:3: unknown key 'train.epoch'; did you mean 'train.epochs'?",
            "c.yaml:4:9: unknown key 'codec.wdith'; the keys here are name, code_dim, variational,"
            " hidden",
        ),
    ),
    "an unknown key with control characters": (
        '"a\\e[2J\\r": 1',
        ("c.yaml:1:1: unknown key 'a\\x1b[2J\\r'",),
    ),
    "unknown section": ("training: {lr: 0.1}", ("c.yaml:1:1: unknown key 'training'",)),
    "keys that are no text": (
        "1: a\nnull: b\n[c]: d\n{e: f}: g",
        ("c.yaml:1:1: a key must be a string, not 1", "c.yaml:2:1", "c.yaml:3:1", "c.yaml:4:1"),
    ),
    "nan and infinity": (
        "train: {lr: .nan, momentum: .inf, l1: -.inf, noise: {name: masking, level: .NaN},"
        " warmup: .nan}",
        tuple(
            f"train.{key}={value} must be a finite number"
            for key, value in (
                ("optimizer.lr", "nan"),
                ("optimizer.momentum", "inf"),
                ("loss.l1", "-inf"),
                ("noise.level", "nan"),
                ("warmup", "nan"),
            )
        ),
    ),
    "overflow to infinity": (
        "train: {lr: 1e999}",
        ("train.optimizer.lr=inf must be a finite number",),
    ),
    "wrong types": (
        "seed: 1.0\nname: [a]\nthreads: yes\ndevice: 3\ndata: mnist\n"
        "codec: {code_dim: '8', hidden: 256}\ntrain: {epochs: true, lr: fast, recipe: {a: b}}",
        (
            "c.yaml:1:1: seed=1.0 must be a whole number",
            "c.yaml:2:1: name=['a'] must be text",
            "c.yaml:3:1: threads='yes' must be a whole number",
            "c.yaml:4:1: device=3 must be one of 'auto', 'cpu', 'cuda' or 'mps'",
            "c.yaml:5:1: data='mnist' must be a section of keys and values",
            "c.yaml:6:9: codec.code_dim='8' must be a whole number",
            "c.yaml:6:24: codec.hidden=256 must be a list",
            "c.yaml:7:9: train.epochs=true must be a whole number",
            "c.yaml:7:23: train.optimizer.lr='fast' must be a number",
            "c.yaml:7:33: train.recipe={'a': 'b'} must be one of 'muon', 'muon-256',"
            " 'chapter' or 'gentle'",
        ),
    ),
    "out of range": (
        "seed: -1\nthreads: 99999999999\ncodec: {code_dim: 99999999999999999999}\n"
        "train: {epochs: 0, batch_size: -5, momentum: 1, noise: {name: masking, level: 2}}",
        (
            "c.yaml:1:1: seed=-1 must be at least 0",
            "c.yaml:2:1: threads=99999999999 must be at most 1024",
            "c.yaml:3:9: codec.code_dim=99999999999999999999 must be at most 1000000000",
            "c.yaml:4:9: train.epochs=0 must be at least 1",
            "c.yaml:4:20: train.batch_size=-5 must be at least 1",
            "c.yaml:4:36: train.optimizer.momentum=1 must be less than 1",
            "c.yaml:4:72: train.noise.level=2 must be at most 1",
        ),
    ),
    "keys that what is named beside them has not": (
        "train: {optimizer: adam, momentum: 0.5, noise_level: 0.1}",
        (
            "c.yaml:1:26: unknown key 'train.optimizer.momentum'; the keys here are name, lr",
            "c.yaml:1:41: unknown key 'train.noise.level'; the keys here are name",
        ),
    ),
    "keys without effect": (
        "train: {elastic_fraction: 0.1}",
        ("c.yaml:1:9: train.elastic_fraction=0.1 has no effect: train.elastic=0",),
    ),
    "a training of what is solved for": (
        "codec: {name: pca}\ntrain: {epochs: 3}",
        ("c.yaml:2:9: train.epochs=3 has no effect: pca is solved for, not trained",),
    ),
    "an empty path": ("data: {dir: ''}", ("c.yaml:1:8: data.dir='': must be a path",)),
    "paths as a name": ("name: ../../x", ("c.yaml:1:1: name='../../x' must be 1 to 40 letters",)),
    "a line's end in a name": ('name: "x\\n"', ("name='x\\n' must be 1 to 40 letters",)),
    "9,999 layers": (f"codec: {{hidden: [{_MANY}]}}", ("must be a list of at most 64",)),
    "no codec of that name": ("codec: {name: os.system}", ("codec.name='os.system' must be one",)),
    "10 MB": (b"# " + b"x" * 10_000_000, ("c.yaml: too long: a config has at most 65,536 bytes",)),
    "10 MB of keys": (b"a: 1\n" * 2_000_000, ("at most 65,536 bytes",)),
    "invalid UTF-8": (b"seed: 1\nname: \xff", ("c.yaml: not UTF-8: byte 14 is 0xff",)),
    "cut UTF-8": ("name: ü".encode()[:-1], ("c.yaml: not UTF-8",)),
    "UTF-16": ("seed: 1".encode("utf-16"), ("c.yaml: not UTF-8: byte 0 is 0xff",)),
    "a surrogate": (b"name: \xed\xa0\x80", ("c.yaml: not UTF-8",)),
    "null bytes": (b"seed: \0", ("c.yaml: not YAML",)),
    "control characters": (b"seed: \x1b[2J", ("c.yaml: not YAML",)),
    "tabs": ("train:\n\tlr: 0.1", ("c.yaml:2:1: not YAML",)),
    "an open bracket": ("train: {lr: [1", ("not YAML",)),
    "two colons": ("seed: a: b", ("c.yaml:1:8: not YAML",)),
    "two documents": ("seed: 1\n---\nseed: 2", ("c.yaml:2:1: a second document",)),
    "a list": ("- seed", ("c.yaml: a config is a mapping of keys to values",)),
    "a word": ("seed", ("c.yaml: a config is a mapping of keys to values",)),
    "another YAML version": ("%YAML 9.9\n---\nseed: 1", ("not YAML",)),
    "a pickle": (b"\x80\x04\x95\x1d\0\0\0\0\0\0\0\x8c\x05posix", ("c.yaml: not UTF-8",)),
}  # fmt: skip

# Rows of other experiments: name -> command, YAML, message.
OTHERS = {
    "9,999 code dimensions": (
        "sweep-codedim",
        f"code_dims: [{_MANY}]",
        "code_dims",
    ),
    "a device for many trainings": (
        "sweep-codedim",
        "device: mps",
        "c.yaml:1:1: device='mps': many trainings run on the CPU or on CUDA's GPUs",
    ),
    "a codec that no claim is about": (
        "reproduce",
        "codec: {name: linear}",
        "codec.name=linear: the claims are about a network with hidden layers",
    ),
    "an empty run": ("sample", "run: ''", "c.yaml:1:1: run='': must be a path"),
    "ends that contradict": (
        "interpolate",
        "from_digit: 1\nto_digit: 1\nfrom_index: 3",
        "from_digit=1 and from_index=3 both choose the same end",
    ),
}
