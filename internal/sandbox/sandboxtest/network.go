package sandboxtest

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
)

var networkTests = map[string]func(*testing.T, *suite){
	"Address":          testAddress,
	"AddressOfAnother": testAddressOfAnother,
	"Siblings":         testSiblings,
	"NetworksAreApart": testNetworksAreApart,
	"HostIsOutOfReach": testHostIsOutOfReach,
	"NoSpoofing":       testNoSpoofing,
	"Listening":        testListening,
	"RemoveNetwork":    testRemoveNetwork,
}

// server listens at the addresses of its arguments and answers each connection
// with a line: its host name. It prints "listening" when all are open.
const server = `
use Socket; use IO::Select; use Sys::Hostname;
my @open;
for (@ARGV) {
	my ($host, $port) = split /,/;
	my $six = $host =~ /:/;
	socket(my $s, $six ? AF_INET6 : AF_INET, SOCK_STREAM, 0) or die "socket: $!";
	setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
	setsockopt($s, IPPROTO_IPV6, IPV6_V6ONLY, 1) if $six;
	bind($s, $six ? pack_sockaddr_in6($port, Socket::inet_pton(AF_INET6, $host)) : pack_sockaddr_in($port, inet_aton($host))) or die "bind $_: $!";
	listen($s, 64) or die "listen: $!";
	push @open, $s;
}
$| = 1;
print "listening\n";
my $ready = IO::Select->new(@open);
while (1) {
	for ($ready->can_read) { accept(my $c, $_); syswrite $c, hostname() . "\n"; close $c }
}`

// probe connects to all of its arguments at once and prints those that answer
// within a second, with the line that they say.
const probe = `
use Socket; use Fcntl; use IO::Select;
my (%name, $pending, $reading);
($pending, $reading) = (IO::Select->new, IO::Select->new);
for (@ARGV) {
	my ($host, $port) = /^\[?(.*?)\]?:(\d+)$/;
	my ($error, $a) = Socket::getaddrinfo($host, $port, {socktype => SOCK_STREAM, flags => Socket::AI_NUMERICHOST});
	next if $error;
	socket(my $s, $a->{family}, SOCK_STREAM, 0) or next;
	fcntl($s, F_SETFL, O_NONBLOCK);
	connect($s, $a->{addr}) or $!{EINPROGRESS} or next;
	$name{$s} = $_;
	$pending->add($s);
}
my $end = time + 2;
while ($pending->count + $reading->count && time < $end) {
	for ($pending->can_write(0.05)) { $pending->remove($_); $reading->add($_) }
	for ($reading->can_read(0.05)) { $reading->remove($_); my $n = sysread $_, my $line, 100; print "$name{$_} $line" if $n }
}`

// serve starts a server in the sandbox and returns when it listens.
func (b box) serve(t *testing.T, process string, addresses ...string) {
	t.Helper()
	cmd := sandbox.Command{Argv: append([]string{"perl", "-e", server}, addresses...)}
	if err := b.provider.Start(within(t), b.name, process, cmd); err != nil {
		t.Fatal(err)
	}
	b.follow(t, process).wait(t, "listening\n")
}

// reached asks from inside the sandbox which of the addresses answer.
func (b box) reached(t *testing.T, addresses ...string) []string {
	t.Helper()
	got := b.must(t, sandbox.Command{Argv: append([]string{"perl", "-e", probe}, addresses...)})
	lines := slices.Collect(strings.Lines(got))
	slices.Sort(lines)
	return lines
}

func (b box) address(t *testing.T, port int) sandbox.Address {
	t.Helper()
	a, err := b.provider.Address(within(t), b.name, port)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// answer is what a server says to us.
func answer(address string) (string, error) {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	return bufio.NewReader(conn).ReadString('\n')
}

// testAddressOfAnother: a sandbox that gets the address of one that is gone is
// reached at once, by us and by its siblings, who have spoken to the other.
func testAddressOfAnother(t *testing.T, s *suite) {
	network := s.network(t)
	sibling := s.make(t, sandbox.Spec{Network: network})
	talk := func(b box) string {
		b.serve(t, "server", "0.0.0.0,8080")
		a := b.address(t, 8080)
		if a.Proxy == "" || a.Sibling == "" {
			t.Skip("the provider has no addresses of its own")
		}
		begin := time.Now()
		if _, err := answer(a.Proxy); err != nil {
			t.Errorf("we cannot reach %s: %v", a.Proxy, err)
		}
		if got := sibling.reached(t, a.Sibling); len(got) != 1 {
			t.Errorf("its sibling cannot reach %s: %q", a.Sibling, got)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("reaching %s took %s", a.Proxy, took)
		}
		return a.Sibling
	}
	first := s.make(t, sandbox.Spec{Network: network})
	before := talk(first)
	if err := s.provider.Destroy(within(t), first.name); err != nil {
		t.Fatal(err)
	}
	if after := talk(s.make(t, sandbox.Spec{Network: network})); after != before {
		t.Logf("the second sandbox has the address %s, the first had %s", after, before)
	}
}

func testAddress(t *testing.T, s *suite) {
	b := s.make(t, sandbox.Spec{Hostname: "my-host"})
	b.serve(t, "web", "0.0.0.0,3000", "127.0.0.1,3001")
	if got, err := answer(b.address(t, 3000).Proxy); err != nil || got != "my-host\n" {
		t.Errorf("port 3000 answers %q, %v", got, err)
	}
	if _, err := answer(b.address(t, 3001).Proxy); err == nil {
		t.Error("a port of the sandbox's loopback answers us")
	}
	if _, err := answer(b.address(t, 3002).Proxy); err == nil {
		t.Error("a port that nobody listens on answers")
	}
	for _, port := range []int{0, -1, 65536} {
		_, err := b.provider.Address(within(t), b.name, port)
		wantKind(t, err, coderunner.Invalid, fmt.Sprintf("the address of port %d", port))
	}
	if got := b.sh(t, `hostname; getent hosts "$(hostname)" | grep -c .; getent ahostsv4 localhost | grep -c 127.0.0.1`); got != "my-host\n1\n3\n" {
		t.Errorf("the sandbox's names are %q", got)
	}
	if b := s.box(t); b.sh(t, `hostname`) != b.name+"\n" {
		t.Errorf("a sandbox without a host name is called %q, not %q", b.sh(t, `hostname`), b.name)
	}
}

func testSiblings(t *testing.T, s *suite) {
	if !s.provider.Capabilities().PrivateNetwork {
		return // there is nothing to promise
	}
	network := s.network(t)
	db := s.make(t, sandbox.Spec{Network: network, Hostname: "db"})
	app := s.make(t, sandbox.Spec{Network: network, Hostname: "app"})
	db.serve(t, "db", "0.0.0.0,5432", "127.0.0.1,5433")
	app.serve(t, "app", "0.0.0.0,8080")
	open, closed := db.address(t, 5432).Sibling, db.address(t, 5433).Sibling
	if got := app.reached(t, open, closed); !slices.Equal(got, []string{open + " db\n"}) {
		t.Errorf("the app reaches %q", got)
	}
	if got := db.reached(t, app.address(t, 8080).Sibling); len(got) != 1 {
		t.Errorf("the database reaches %q", got)
	}
}

func testNetworksAreApart(t *testing.T, s *suite) {
	ours, theirs := s.network(t), s.network(t)
	victim := s.make(t, sandbox.Spec{Network: ours, Hostname: "victim"})
	alone := s.make(t, sandbox.Spec{Hostname: "alone"})
	victim.serve(t, "web", "0.0.0.0,3000")
	alone.serve(t, "web", "0.0.0.0,3000")
	a, b := victim.address(t, 3000), alone.address(t, 3000)
	var all []string
	for _, address := range []string{a.Proxy, a.Sibling, b.Proxy, b.Sibling} {
		if address != "" && !slices.Contains(all, address) {
			all = append(all, address)
		}
	}
	for _, address := range []string{a.Proxy, b.Proxy} { // both are there indeed
		if _, err := answer(address); err != nil {
			t.Error(err)
		}
	}
	for _, spec := range []sandbox.Spec{{Network: theirs}, {}} {
		if got := s.make(t, spec).reached(t, all...); len(got) > 0 {
			t.Errorf("from the network %q one reaches %q", spec.Network, got)
		}
	}
}

func testHostIsOutOfReach(t *testing.T, s *suite) {
	listener, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprintln(conn, "host")
			conn.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	b := s.make(t, sandbox.Spec{Network: s.network(t)})
	// The way out is the host's own address on the sandbox's network.
	gateway := strings.TrimSpace(b.sh(t, `perl -ane 'printf "%s\n", join ".", reverse map { hex } $F[2] =~ /../g if $F[1] eq "00000000"' /proc/net/route`))
	hosts := []string{gateway}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip := a.(*net.IPNet).IP; !ip.IsLoopback() {
			host := ip.String()
			if ip.To4() == nil && ip.IsLinkLocalUnicast() {
				host += "%eth0"
			}
			hosts = append(hosts, host)
		}
	}
	var targets []string
	for _, host := range hosts {
		targets = append(targets, net.JoinHostPort(host, port))
	}
	if got, err := answer(net.JoinHostPort(gateway, port)); err != nil || got != "host\n" {
		t.Errorf("we ourselves get %q, %v from %s", got, err, gateway)
	}
	targets = append(targets, "169.254.169.254:80", "[fd00:ec2::254]:80")
	if got := b.reached(t, targets...); len(got) > 0 {
		t.Errorf("the sandbox reaches the host's services: %q", got)
	}
}

// testNoSpoofing tries what a sandbox would need to speak in another's name.
func testNoSpoofing(t *testing.T, s *suite) {
	cmd := sandbox.Command{User: "root", Argv: []string{"perl", "-e", `
		use Socket;
		my $ifreq = pack("a16 a16", "eth0", pack_sockaddr_in(0, inet_aton("10.1.2.3")));
		socket(my $plain, AF_INET, SOCK_DGRAM, 0) or die;
		print "raw\n" if socket(my $raw, AF_INET, SOCK_RAW, 1);
		print "packet\n" if socket(my $packet, 17, SOCK_RAW, 0x0300);
		print "address\n" if ioctl($plain, 0x8916, $ifreq);
		$ifreq = pack("a16 S a14", "eth0", 1, "\2\0\0\0\0\1");
		print "link\n" if ioctl($plain, 0x8924, $ifreq);
		print "transparent\n" if setsockopt($plain, 0, 19, 1);
		my ($netlink, $reply);
		print "admin\n" if socket($netlink, 16, SOCK_RAW, 12) && send($netlink, pack("L S S L L C C n", 20, 0xa01, 0x301, 1, 0, 1, 0, 0), 0) && defined recv($netlink, $reply, 1000, 0) && unpack("x16 l", $reply) >= 0;`}}
	if got := s.box(t).must(t, cmd); got != "" {
		t.Errorf("root of a sandbox may make or change:\n%s", got)
	}
}

func testListening(t *testing.T, s *suite) {
	b := s.box(t)
	if got, err := b.provider.Listening(within(t), b.name); err != nil || len(got) != 0 {
		t.Errorf("a new sandbox listens at %v, %v", got, err)
	}
	b.serve(t, "web", "0.0.0.0,3000", "127.0.0.1,9229", "::1,9229", "::,65535")
	got, err := b.provider.Listening(within(t), b.name)
	if err != nil {
		t.Fatal(err)
	}
	loopback := map[sandbox.Socket]bool{{IP: "0.0.0.0", Port: 3000}: false, {IP: "127.0.0.1", Port: 9229}: true, {IP: "::1", Port: 9229}: true, {IP: "::", Port: 65535}: false}
	for _, socket := range got {
		if is, known := loopback[socket]; !known || socket.Loopback() != is {
			t.Errorf("the sandbox listens at %+v, loopback: %v", socket, socket.Loopback())
		}
	}
	if len(got) != len(loopback) {
		t.Errorf("the sandbox listens at %v, want %v", got, loopback)
	}
}

func testRemoveNetwork(t *testing.T, s *suite) {
	name, ctx := s.network(t), within(t)
	b := s.make(t, sandbox.Spec{Network: name})
	s.box(t) // one without a network adds none
	names, err := s.provider.ListNetworks(ctx)
	if err != nil || !slices.Contains(names, name) {
		t.Errorf("the networks are %q, %v; %s is missing", names, err, name)
	}
	for _, n := range names {
		if !strings.HasPrefix(n, "net-") {
			t.Errorf("nobody asked for the network %q", n)
		}
	}
	wantKind(t, s.provider.RemoveNetwork(ctx, name), coderunner.Conflict, "removing a network in use")
	if err := s.provider.Destroy(ctx, b.name); err != nil {
		t.Fatal(err)
	}
	if names, _ := s.provider.ListNetworks(ctx); !slices.Contains(names, name) {
		t.Error("the network went with its last sandbox")
	}
	for range 2 {
		if err := s.provider.RemoveNetwork(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if names, err := s.provider.ListNetworks(ctx); err != nil || slices.Contains(names, name) {
		t.Errorf("after its removal the networks are %q, %v", names, err)
	}
	wantKind(t, s.provider.RemoveNetwork(ctx, "../x"), coderunner.Invalid, "removing a network of no name")
}
