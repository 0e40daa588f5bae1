"""The baseline of `tools/bench sign`: Ed25519 in big integers, by the algorithms of RFC 8032 sections 5.1 and 6,
nothing clever.

Runs under MicroPython and CPython. For measuring only: its time and its memory accesses depend on the secret.
"""

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = 37095705934669439343138083508754565189542113879843219016388785533085940283555
ROOT = 19681161376707505956807079304988542015446066515923890162744021073123829784752
M = 2**64 - 1
products = 0  # modulo P, counted where they are made


def _sha512_constants():
    def root(n, k):
        low, high = 0, 1 << 80
        while low < high:
            middle = (low + high + 1) >> 1
            if middle**k <= n:
                low = middle
            else:
                high = middle - 1
        return low & M

    primes = []
    candidate = 2
    while len(primes) < 80:
        if all(candidate % p for p in primes):
            primes.append(candidate)
        candidate += 1
    return [root(p << 192, 3) for p in primes], [root(p << 128, 2) for p in primes[:8]]


K, H = _sha512_constants()


def _rotate(x, n):
    return (x >> n | x << 64 - n) & M


def sha512(data):
    state = list(H)
    data = data + b"\x80" + bytes((111 - len(data)) % 128) + (8 * len(data)).to_bytes(16, "big")
    for at in range(0, len(data), 128):
        w = [int.from_bytes(data[at + 8 * i : at + 8 * i + 8], "big") for i in range(16)]
        for i in range(16, 80):
            x, y = w[i - 15], w[i - 2]
            w.append((w[i - 16] + (_rotate(x, 1) ^ _rotate(x, 8) ^ x >> 7) + w[i - 7]
                      + (_rotate(y, 19) ^ _rotate(y, 61) ^ y >> 6)) & M)
        a, b, c, d, e, f, g, h = state
        for i in range(80):
            t = h + (_rotate(e, 14) ^ _rotate(e, 18) ^ _rotate(e, 41)) + (g ^ e & (f ^ g)) + K[i] + w[i]
            u = (_rotate(a, 28) ^ _rotate(a, 34) ^ _rotate(a, 39)) + (a & b | c & (a | b))
            a, b, c, d, e, f, g, h = (t + u) & M, a, b, c, (d + t) & M, e, f, g
        state = [(x + y) & M for x, y in zip(state, (a, b, c, d, e, f, g, h))]  # noqa: B905 - MicroPython's zip
    return b"".join([x.to_bytes(8, "big") for x in state])


def power(base, exponent):
    """Square and multiply; MicroPython's own pow() does the same, and cannot be asked for a count."""
    global products
    out = 1
    while exponent:
        if exponent & 1:
            out = out * base % P
            products += 1
        base = base * base % P
        products += 1
        exponent >>= 1
    return out


def add(p, q):
    global products
    products += 9
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(k, point):
    out = (0, 1, 1, 0)
    while k:
        if k & 1:
            out = add(out, point)
        point = add(point, point)
        k >>= 1
    return out


def encode(point):
    global products
    inverse = power(point[2], P - 2)
    products += 2
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * power(D * y * y + 1, P - 2) % P
    x = power(square, (P + 3) // 8)
    if (x * x - square) % P:
        x = x * ROOT % P
    if (x * x - square) % P or y >= P:
        raise ValueError("not a point")
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE = decode((4 * power(5, P - 2) % P).to_bytes(32, "little"))


def expand(seed):
    digest = sha512(seed)
    a = int.from_bytes(digest[:32], "little") & (1 << 254) - 8 | 1 << 254
    return a, digest[32:]


def public_key(seed):
    return encode(times(expand(seed)[0], BASE))


def sign(seed, public, message):
    """As the station has it, the public key is at hand; RFC 8032's own function derives it anew, at twice the price."""
    a, prefix = expand(seed)
    r = int.from_bytes(sha512(prefix + message), "little") % L
    point = encode(times(r, BASE))
    k = int.from_bytes(sha512(point + public + message), "little") % L
    return point + ((r + k * a) % L).to_bytes(32, "little")


def verify(public, message, signature):
    a, r, s = decode(public), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    k = int.from_bytes(sha512(signature[:32] + public + message), "little") % L
    left, right = times(s, BASE), add(r, times(k, a))
    if s >= L or (left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P:
        raise ValueError("signature does not hold")
