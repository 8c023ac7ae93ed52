package containerd

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/sandbox"
	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Address implements sandbox.Provider.
func (p *Provider) Address(ctx context.Context, name string, port int) (sandbox.Address, error) {
	if port < 1 || port > 65535 {
		return sandbox.Address{}, coderunner.Errorf(coderunner.Invalid, "%d is not a port.", port)
	}
	if _, err := p.load(ctx, name); err != nil {
		return sandbox.Address{}, err
	}
	var a attachment
	if err := readJSON(p.attachmentFile(name), &a); errors.Is(err, os.ErrNotExist) {
		return sandbox.Address{}, notFound(name)
	} else if err != nil {
		return sandbox.Address{}, err
	}
	host := net.JoinHostPort(a.Address.Addr().String(), strconv.Itoa(port))
	return sandbox.Address{Proxy: host, Sibling: host}, nil
}

// Listening implements sandbox.Provider.
func (p *Provider) Listening(ctx context.Context, name string) ([]sandbox.Socket, error) {
	_, init, err := p.inside(ctx, name)
	if err != nil {
		return nil, err
	}
	var sockets []sandbox.Socket
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", init, table))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the sockets of the sandbox %s: %w", name, err)
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if s, listens := parseSocket(lines.Text()); listens && !slices.Contains(sockets, s) {
				sockets = append(sockets, s)
			}
		}
		f.Close()
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return sockets, nil
}

// parseSocket reads one line of /proc/net/tcp or tcp6 (proc_net_tcp in the
// kernel's documentation): addresses are 32-bit words in the host's byte order.
func parseSocket(line string) (sandbox.Socket, bool) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 4 || fields[3] != listen {
		return sandbox.Socket{}, false
	}
	address, port, _ := strings.Cut(fields[1], ":")
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw)%4 != 0 {
		return sandbox.Socket{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	ip, ok := netip.AddrFromSlice(raw)
	number, err := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil {
		return sandbox.Socket{}, false
	}
	return sandbox.Socket{IP: ip.Unmap().String(), Port: int(number)}, true
}

// Stats implements sandbox.Provider.
func (p *Provider) Stats(ctx context.Context, name string) (sandbox.Stats, error) {
	container, _, err := p.running(ctx, name)
	if err != nil {
		return sandbox.Stats{}, err
	}
	group := inside.SandboxGroup(container.ID())
	return sandbox.Stats{
		MemoryBytes:      p.cgroups.Number("memory", group, "memory.usage_in_bytes", "memory.current"),
		MemoryLimitBytes: p.cgroups.Number("memory", group, "memory.limit_in_bytes", "memory.max"),
		CPUTime:          p.cgroups.CPUTime(group),
		PIDs:             p.cgroups.Number("pids", group, "pids.current", "pids.current"),
		OOMKills:         p.cgroups.OOMKills(group),
		ObservedAt:       time.Now(),
	}, nil
}
