package containerd

import (
	"context"
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

// ensureBridge returns the network's bridge, made and firewalled if need be.
func (p *Provider) ensureBridge(network string, mtu int) (netlink.Link, netip.Prefix, error) {
	name := p.linkName(bridgePrefix, network)
	if link, err := netlink.LinkByName(name); err == nil {
		subnet, err := bridgeSubnet(link)
		if err == nil {
			return link, subnet, ensureFirewall(name)
		}
		if err := netlink.LinkDel(link); err != nil { // an earlier try that did not get far
			return nil, netip.Prefix{}, err
		}
	} else if !isNoLink(err) {
		return nil, netip.Prefix{}, err
	}
	file := filepath.Join(p.cfg.StateDir, "networks", network+".json")
	var kept struct{ Subnet netip.Prefix }
	if err := readJSON(file, &kept); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, netip.Prefix{}, err
	}
	subnet, err := chooseSubnet(p.cfg.Instance+"/"+network, kept.Subnet)
	if err != nil {
		return nil, netip.Prefix{}, err
	}
	kept.Subnet = subnet
	if err := inside.WriteJSON(file, kept); err != nil {
		return nil, netip.Prefix{}, err
	}
	if err := ensureFirewall(name); err != nil { // before anything can pass
		return nil, netip.Prefix{}, err
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return nil, netip.Prefix{}, err
	}
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: mtu, HardwareAddr: hardwareAddress(gateway(subnet))}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, netip.Prefix{}, err
	}
	if err := netlink.LinkSetAlias(bridge, p.networkAlias(network)); err != nil {
		return nil, netip.Prefix{}, err
	}
	withoutIPv6(name) // sandboxes have IPv4 only; a link-local address would be a way to the host
	if err := netlink.AddrAdd(bridge, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(gateway(subnet), subnetBits))}); err != nil {
		return nil, netip.Prefix{}, err
	}
	return bridge, subnet, netlink.LinkSetUp(bridge)
}

// withoutIPv6 keeps the kernel from giving the link an address of its own. Each
// address that comes or goes makes browsers on this machine drop connections that
// they are opening (ERR_NETWORK_CHANGED). A kernel without IPv6 has no such file.
func withoutIPv6(link string) {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+link+"/disable_ipv6", []byte("1"), 0)
}

// hardwareAddress follows from the IP address, so that one that is given to
// another sandbox is found at once: neighbours remember for some seconds which
// hardware address an IP address had. A bridge without one of its own would change it with
// every sandbox that comes or goes.
func hardwareAddress(ip netip.Addr) net.HardwareAddr {
	return append(net.HardwareAddr{0x02, 0xc0}, ip.AsSlice()...) // locally administered, unicast
}

// gateway is the bridge's own address: the subnet's first.
func gateway(subnet netip.Prefix) netip.Addr { return subnet.Addr().Next() }

func bridgeSubnet(link netlink.Link) (netip.Prefix, error) {
	addresses, err := netdump.Whole(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Prefix{}, err
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP.To4()); ok {
			return netip.PrefixFrom(ip, subnetBits).Masked(), nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("the bridge %s has no address", link.Attrs().Name)
}

// ListNetworks implements sandbox.Provider.
func (p *Provider) ListNetworks(context.Context) ([]string, error) {
	links, err := bridges(p.cfg.Instance)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, l := range links {
		if name := bridgeNetwork(l, p.cfg.Instance); !isSolo(name) {
			names[name] = true
		}
	}
	// After a reboot a network is a file until its first sandbox is back.
	entries, err := os.ReadDir(filepath.Join(p.cfg.StateDir, "networks"))
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if name, is := strings.CutSuffix(e.Name(), ".json"); is && !isSolo(name) {
			names[name] = true
		}
	}
	return sortedKeys(names), nil
}

// RemoveNetwork implements sandbox.Provider.
func (p *Provider) RemoveNetwork(ctx context.Context, network string) error {
	if err := checkName("network", network); err != nil {
		return err
	}
	return p.removeNetwork(ctx, network)
}

func (p *Provider) removeNetwork(ctx context.Context, network string) error {
	unlock, err := networkLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	link, err := netlink.LinkByName(p.linkName(bridgePrefix, network))
	switch {
	case isNoLink(err):
	case err != nil:
		return err
	default:
		links, err := netdump.Links()
		if err != nil {
			return err
		}
		for _, l := range links {
			if l.Attrs().MasterIndex == link.Attrs().Index {
				return coderunner.Errorf(coderunner.Conflict, "The network %s still has sandboxes. Destroy them first.", network)
			}
		}
		if err := removeBridge(link); err != nil {
			return err
		}
	}
	err = os.Remove(filepath.Join(p.cfg.StateDir, "networks", network+".json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// removeBridge takes away the bridge and what the firewall knows of it.
func removeBridge(bridge netlink.Link) error {
	if err := netlink.LinkDel(bridge); err != nil {
		return err
	}
	return forgetFirewall(bridge.Attrs().Name)
}

// unplug takes the instance's networks off this machine; nothing runs in them. Their
// files stay, so that the addresses are the same when they come back.
func (p *Provider) unplug(ctx context.Context) error {
	unlock, err := networkLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	links, err := bridges(p.cfg.Instance)
	for _, l := range links {
		err = errors.Join(err, removeBridge(l))
	}
	return err
}

// bridges are those of an instance that this machine has.
func bridges(instance string) (found []netlink.Link, err error) {
	links, err := netdump.Links()
	if err != nil {
		return nil, fmt.Errorf("list the networks: %w", err)
	}
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, bridgePrefix) && bridgeNetwork(l, instance) != "" {
			found = append(found, l)
		}
	}
	return found, nil
}

// bridgeNetwork is the network that a bridge of the instance is, "" if it is not one.
func bridgeNetwork(l netlink.Link, instance string) string {
	if fields := strings.Fields(l.Attrs().Alias); len(fields) == 3 && fields[1] == instance {
		return fields[2]
	}
	return ""
}
