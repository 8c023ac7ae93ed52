package containerd

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/internal/netdump"

	"github.com/coderunner/coderunner/internal/sandbox/containerd/inside"
)

// Each network is a bridge with a /26 of the pool; each sandbox has a network
// namespace with one end of a veth pair. The links carry aliases that say whose
// they are, so that the kernel itself is the record:
//
//	bridge  crb-…  "coderunner <instance> <network>"
//	veth    crv-…  "coderunner <instance> <network> <address>"
//
// The subnet and the address are kept in files as well, so that both are the
// same after a reboot.
var addressPool = netip.MustParsePrefix("10.213.0.0/16")

const (
	subnetBits   = 26
	bridgePrefix = "crb-"
	vethPrefix   = "crv-"
)

// linkName is a kernel-sized name for something of this instance.
func (p *Provider) linkName(prefix, name string) string {
	sum := sha256.Sum256([]byte(p.cfg.Instance + "\x00" + name))
	return prefix + hex.EncodeToString(sum[:5])
}

func (p *Provider) networkAlias(network string) string {
	return "coderunner " + p.cfg.Instance + " " + network
}

// Networks are those of all sandboxes of this machine, as proxies' exceptions are written.
func Networks() string { return addressPool.String() }

// networkLock keeps all processes of this machine from choosing the same subnet or address.
func networkLock(ctx context.Context) (func(), error) {
	if err := os.MkdirAll("/run/coderunner", 0o711); err != nil {
		return nil, err
	}
	return lockFile(ctx, "/run/coderunner/network.lock")
}

// soloNetwork is the network of a sandbox that asked for none; it ends with the sandbox.
func soloNetwork(name string) string { return "solo." + name }

func isSolo(network string) bool { return strings.HasPrefix(network, "solo.") }

// attachment is how a sandbox is reached.
type attachment struct {
	Network string       `json:"network"`
	Address netip.Prefix `json:"address"` // its own, with the subnet's length
	Netns   string       `json:"netns"`   // path of its namespace
}

func (p *Provider) attachmentFile(name string) string {
	return filepath.Join(p.sandboxDir(name), "network.json")
}

// attach gives the namespace of the sandbox, which is id at the engine, an address in
// the network; both are made if need be. What an earlier try left is replaced; the address stays.
func (p *Provider) attach(ctx context.Context, name, id, network string) (attachment, error) {
	unlock, err := networkLock(ctx)
	if err != nil {
		return attachment{}, err
	}
	defer unlock()
	mtu, err := uplinkMTU()
	if err != nil {
		return attachment{}, err
	}
	bridge, subnet, err := p.ensureBridge(network, mtu)
	if err != nil {
		return attachment{}, fmt.Errorf("make the network %s: %w", network, err)
	}
	if err := p.removeVeth(name); err != nil {
		return attachment{}, err
	}
	var kept attachment
	if err := readJSON(p.attachmentFile(name), &kept); err != nil && !errors.Is(err, os.ErrNotExist) {
		return attachment{}, err
	}
	address, err := p.chooseAddress(bridge, subnet, kept.Address.Addr())
	if err != nil {
		return attachment{}, err
	}
	a := attachment{Network: network, Address: netip.PrefixFrom(address, subnetBits), Netns: netnsPath(id)}
	if err := inside.WriteJSON(p.attachmentFile(name), a); err != nil {
		return attachment{}, err
	}
	into := makeNetns
	if isStandby(id) { // its first process is in it already
		into = inNetns
	}
	err = into(a.Netns, func(inside *netlink.Handle, nsFD int) error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: p.linkName(vethPrefix, name), MTU: mtu, MasterIndex: bridge.Attrs().Index},
			PeerName: "eth0", PeerNamespace: netlink.NsFd(nsFD), PeerHardwareAddr: hardwareAddress(address)}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add the link: %w", err)
		}
		if err := netlink.LinkSetAlias(veth, p.networkAlias(network)+" "+address.String()); err != nil {
			return err
		}
		withoutIPv6(veth.Name)
		return configureInside(inside, a.Address, gateway(subnet), mtu, func() error { return netlink.LinkSetUp(veth) })
	})
	if err != nil {
		return attachment{}, fmt.Errorf("make the network of sandbox %s: %w", name, err)
	}
	return a, nil
}

// configureInside gives the namespace's end its address and route.
func configureInside(inside *netlink.Handle, address netip.Prefix, via netip.Addr, mtu int, up func() error) error {
	lo, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(lo); err != nil {
		return err
	}
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := inside.LinkSetMTU(eth0, mtu); err != nil {
		return err
	}
	if err := inside.AddrAdd(eth0, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return err
	}
	if err := inside.LinkSetUp(eth0); err != nil {
		return err
	}
	if err := up(); err != nil {
		return err
	}
	return inside.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Gw: via.AsSlice()})
}

// detach removes the sandbox's link and namespace. None is success.
func (p *Provider) detach(ctx context.Context, name string) error {
	unlock, err := networkLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	var kept attachment
	if err := readJSON(p.attachmentFile(name), &kept); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	err = p.removeVeth(name)
	for _, path := range []string{kept.Netns, netnsPath(p.id(name))} {
		if path != "" {
			err = errors.Join(err, removeNetns(path))
		}
	}
	return err
}

func (p *Provider) removeVeth(name string) error {
	link, err := netlink.LinkByName(p.linkName(vethPrefix, name))
	if isNoLink(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkDel(link)
}

// chooseSubnet takes the kept subnet, or else a free one that this machine has no route into.
func chooseSubnet(seed string, kept netip.Prefix) (netip.Prefix, error) {
	routes, err := netdump.Whole(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Prefix{}, err
	}
	var used []netip.Prefix
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if ok && ones > 0 {
			used = append(used, netip.PrefixFrom(ip, ones))
		}
	}
	free := func(subnet netip.Prefix) bool {
		for _, u := range used {
			if u.Overlaps(subnet) {
				return false
			}
		}
		return true
	}
	if kept.IsValid() && free(kept) {
		return kept, nil
	}
	count := uint32(1) << (subnetBits - addressPool.Bits())
	sum := sha256.Sum256([]byte(seed))
	first := binary.BigEndian.Uint32(sum[:4])
	base := binary.BigEndian.Uint32(addressPool.Addr().AsSlice())
	for i := range count {
		var raw [4]byte
		binary.BigEndian.PutUint32(raw[:], base+((first+i)%count)<<(32-subnetBits))
		if subnet := netip.PrefixFrom(netip.AddrFrom4(raw), subnetBits); free(subnet) {
			return subnet, nil
		}
	}
	return netip.Prefix{}, coderunner.Errorf(coderunner.Unavailable, "All %d networks of this machine are in use. Destroy a project that is not needed, then try again.", count)
}

// chooseAddress takes the kept address if it is free, or else the first that is.
func (p *Provider) chooseAddress(bridge netlink.Link, subnet netip.Prefix, kept netip.Addr) (netip.Addr, error) {
	links, err := netdump.Links()
	if err != nil {
		return netip.Addr{}, err
	}
	used := map[string]bool{gateway(subnet).String(): true}
	for _, l := range links {
		if l.Attrs().MasterIndex == bridge.Attrs().Index {
			fields := strings.Fields(l.Attrs().Alias)
			if len(fields) > 0 {
				used[fields[len(fields)-1]] = true
			}
		}
	}
	if kept.IsValid() && subnet.Contains(kept) && !used[kept.String()] {
		return kept, nil
	}
	size := 1<<(32-subnetBits) - 2
	address := gateway(subnet)
	for range size - 1 {
		address = address.Next()
		if !used[address.String()] {
			return address, nil
		}
	}
	return netip.Addr{}, coderunner.Errorf(coderunner.Unavailable, "The project's network is full: it has room for %d sandboxes.", size-1)
}

// uplinkMTU is the largest packet that leaves this machine whole.
func uplinkMTU() (int, error) {
	routes, err := netdump.Whole(func() ([]netlink.Route, error) {
		return netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
	})
	if err != nil {
		return 0, fmt.Errorf("look for the uplink: %w", err)
	}
	for _, r := range routes {
		if link, err := netlink.LinkByIndex(r.LinkIndex); err == nil {
			return link.Attrs().MTU, nil
		}
	}
	return 1500, nil // no way out; sandboxes still reach each other
}

func isNoLink(err error) bool {
	var missing netlink.LinkNotFoundError
	return errors.As(err, &missing)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
