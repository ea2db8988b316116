"""--loopback: 127.0.0.1 and nothing else."""
from lib import needs, run, scratch, write_file

LOOPBACK = "build/share/dolania/vmlinux-loopback"
PYTHON = "build/share/dolania/images/python.erofs"
NODE = "build/share/dolania/images/node.erofs"

SERVER = """
import http.server, threading, urllib.request
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(self.path.encode())
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
for host in ('127.0.0.1', 'localhost'):
    print(urllib.request.urlopen(f'http://{host}:{server.server_port}/asked').read().decode())
"""

# What is reached of the world: nothing. An address that no interface has, one of a private net, a name.
ELSEWHERE = """
import errno, socket
def reach(kind, address):
    try:
        with socket.socket(socket.AF_INET, kind) as s:
            s.settimeout(5); s.connect(address)
            if kind == socket.SOCK_DGRAM: s.send(b'x')
            return 'reached'
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))
for address in ('192.0.2.1', '10.0.2.2', '169.254.169.254', '8.8.8.8', '255.255.255.255'):
    print(address, reach(socket.SOCK_STREAM, (address, 80)), reach(socket.SOCK_DGRAM, (address, 53)))
print('refused', reach(socket.SOCK_STREAM, ('127.0.0.1', 1)))
try: print(socket.getaddrinfo('debian.org', 80))
except socket.gaierror as e: print('no name')
for family, kind, protocol in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_RAW, 768),
                               (socket.AF_INET6, socket.SOCK_STREAM, 0), (40, socket.SOCK_STREAM, 0)):
    try: socket.socket(family, kind, protocol); print('made', family)
    except OSError as e: print(family.value if hasattr(family, 'value') else family, errno.errorcode[e.errno])
print(open('/proc/net/dev').read())
print(open('/proc/net/route').read())
"""


@needs(LOOPBACK)
@needs(PYTHON)
def test_http_server_and_client_in_python():
    r = run("--loopback", "--runtime", "python", "--wall", "200s", "-c", SERVER, timeout=200)
    assert (r.code, r.text, r.err) == (0, "/asked\n/asked\n", b""), r
    kernel, = (m for m in r.result["measured"] if m["role"] == "kernel")
    assert kernel["name"].endswith("/vmlinux-loopback"), kernel


@needs(LOOPBACK)
@needs(NODE)
def test_http_server_and_client_in_node():
    r = run("--loopback", "--runtime", "node", "--wall", "200s", "-c", """
        const http = require('http');
        const server = http.createServer((q, a) => a.end('got ' + q.url)).listen(0, '127.0.0.1', () =>
            http.get({ port: server.address().port, host: 'localhost', path: '/x', family: 4 }, (a) => {
                a.on('data', (d) => process.stdout.write(d + '\\n')); a.on('end', () => server.close()); }));""", timeout=200)
    assert (r.code, r.text, r.err) == (0, "got /x\n", b""), r


@needs(LOOPBACK)
@needs(PYTHON)
def test_nothing_else_is_reached_and_there_is_no_network_device():
    r = run("--loopback", "--runtime", "python", "--wall", "200s", "-c", ELSEWHERE, timeout=200)
    assert (r.code, r.err) == (0, b""), r
    lines = r.text.splitlines()
    for line in lines[:5]:
        assert line.split()[1:] in (["ENETUNREACH", "ENETUNREACH"], ["ENETUNREACH", "EACCES"]), line
    assert lines[5] == "refused ECONNREFUSED"
    assert lines[6] == "no name"
    assert lines[7:11] == ["2 EPERM", "17 EAFNOSUPPORT", "10 EAFNOSUPPORT", "40 EAFNOSUPPORT"], lines
    devices = [line.split(":")[0].strip() for line in lines if ":" in line]
    assert devices == ["lo"], lines
    assert lines[-1].startswith("Iface") or lines[-2].startswith("Iface"), lines      # no route at all


@needs(PYTHON)
def test_without_it_there_is_no_ip():
    r = run("--runtime", "python", "-c", "import socket\ntry: socket.socket()\nexcept OSError as e: print(e.errno)")
    assert (r.code, r.text) == (0, "97\n"), r       # EAFNOSUPPORT
    kernel, = (m for m in r.result["measured"] if m["role"] == "kernel")
    assert kernel["name"].endswith("/vmlinux"), kernel


def test_a_missing_kernel_and_two_kernels_are_told():
    with scratch() as d:
        r = run("--loopback", "--kernel", write_file(d, "k", "x"), "-c", "true")
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and "exclude each other" in r.errtext, r
