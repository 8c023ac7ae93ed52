package containerd

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// The firewall is one nftables table of ours, the same for all instances:
//
//	set siblings { type ifname . ifname }       # (bridge, the same bridge)
//	chain input (filter):
//	  iifname "crb-*" ct state established,related accept
//	  iifname "crb-*" drop                       # the host's own services
//	chain forward (filter):
//	  iifname . oifname @siblings accept         # only where bridged packets are filtered too
//	  iifname "crb-*" oifname "crb-*" drop       # other projects
//	  iifname "crb-*" ip daddr 169.254.0.0/16 drop
//	  oifname "crb-*" ct state established,related accept
//	  oifname "crb-*" drop                       # nobody from outside but our edge
//	chain postrouting (nat):
//	  iifname "crb-*" oifname != "crb-*" masquerade
const (
	firewallTable = "coderunner"
	siblingsSet   = "siblings"
	// firewallVersion is part of a chain's name, so that another set of rules replaces this one.
	firewallVersion = "v1"
)

var ifnamePair = nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeIFName)

func firewall() *nftables.Table {
	return &nftables.Table{Family: nftables.TableFamilyINet, Name: firewallTable}
}

// ensureFirewall makes the rules unless they are there, and lets the bridge's
// own sandboxes reach each other.
func ensureFirewall(bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return firewallError(err)
	}
	has, err := hasFirewall(c)
	if err != nil {
		return firewallError(err)
	}
	table := firewall()
	if !has {
		c.AddTable(table)
		c.DelTable(table)
		table = c.AddTable(firewall())
		if err := addRules(c, table); err != nil {
			return firewallError(err)
		}
	}
	set := &nftables.Set{Table: table, Name: siblingsSet, KeyType: ifnamePair, Concatenation: true}
	if err := c.SetAddElements(set, []nftables.SetElement{{Key: pairKey(bridge)}}); err != nil {
		return firewallError(err)
	}
	return firewallError(c.Flush())
}

// forgetFirewall takes a bridge's entry out; none is success.
func forgetFirewall(bridge string) error {
	c, err := nftables.New()
	if err != nil {
		return firewallError(err)
	}
	if has, err := hasFirewall(c); err != nil || !has {
		return firewallError(err)
	}
	set, err := c.GetSetByName(firewall(), siblingsSet)
	if err != nil {
		return firewallError(err)
	}
	elements, err := c.GetSetElements(set)
	if err != nil {
		return firewallError(err)
	}
	for _, e := range elements {
		if bytes.Equal(e.Key, pairKey(bridge)) {
			if err := c.SetDeleteElements(set, []nftables.SetElement{{Key: e.Key}}); err != nil {
				return firewallError(err)
			}
			return firewallError(c.Flush())
		}
	}
	return nil
}

// checkFirewall reports whether this kernel lets us filter.
func checkFirewall() error {
	c, err := nftables.New()
	if err == nil {
		_, err = c.ListTables()
	}
	return firewallError(err)
}

func hasFirewall(c *nftables.Conn) (bool, error) {
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, err
	}
	for _, chain := range chains {
		if chain.Table.Name == firewallTable && chain.Name == "postrouting-"+firewallVersion {
			return true, nil
		}
	}
	return false, nil
}

func addRules(c *nftables.Conn, table *nftables.Table) error {
	set := &nftables.Set{Table: table, Name: siblingsSet, KeyType: ifnamePair, Concatenation: true}
	if err := c.AddSet(set, nil); err != nil {
		return err
	}
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(...[]expr.Any) {
		ch := c.AddChain(&nftables.Chain{Table: table, Name: name + "-" + firewallVersion, Type: kind, Hooknum: hook, Priority: priority})
		return func(parts ...[]expr.Any) {
			rule := &nftables.Rule{Table: table, Chain: ch}
			for _, part := range parts {
				rule.Exprs = append(rule.Exprs, part...)
			}
			c.AddRule(rule)
		}
	}
	from, to := expr.MetaKeyIIFNAME, expr.MetaKeyOIFNAME
	input := chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityRef(-10))
	input(ofBridge(from, expr.CmpOpEq), established(), verdict(expr.VerdictAccept))
	input(ofBridge(from, expr.CmpOpEq), verdict(expr.VerdictDrop))
	forward := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityRef(-10))
	forward([]expr.Any{
		&expr.Meta{Key: from, Register: unix.NFT_REG32_00},
		&expr.Meta{Key: to, Register: unix.NFT_REG32_04},
		&expr.Lookup{SourceRegister: unix.NFT_REG32_00, SetName: set.Name, SetID: set.ID},
	}, verdict(expr.VerdictAccept))
	forward(ofBridge(from, expr.CmpOpEq), ofBridge(to, expr.CmpOpEq), verdict(expr.VerdictDrop))
	forward(ofBridge(from, expr.CmpOpEq), linkLocal(), verdict(expr.VerdictDrop))
	forward(ofBridge(to, expr.CmpOpEq), established(), verdict(expr.VerdictAccept))
	forward(ofBridge(to, expr.CmpOpEq), verdict(expr.VerdictDrop))
	nat := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	nat(fromPool(), ofBridge(to, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})
	return nil
}

// ofBridge matches names that begin as our bridges' do.
func ofBridge(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: []byte(bridgePrefix)}}
}

func established() []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// linkLocal matches IPv4 destinations in 169.254.0.0/16.
func linkLocal() []expr.Any { return ipv4Field(16, []byte{169, 254}) }

// fromPool matches IPv4 sources in the sandboxes' pool (a /16).
func fromPool() []expr.Any { return ipv4Field(12, addressPool.Addr().AsSlice()[:2]) }

// ipv4Field matches the first bytes of the address at an offset of the header.
func ipv4Field(offset uint32, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.NFPROTO_IPV4}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(value))},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: value},
	}
}

func verdict(kind expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: kind}} }

// pairKey is the element (bridge, bridge); names are padded to the kernel's 16 bytes.
func pairKey(bridge string) []byte {
	key := make([]byte, 32)
	copy(key, bridge)
	copy(key[16:], bridge)
	return key
}

func firewallError(err error) error {
	if err == nil {
		return nil
	}
	return coderunner.Wrap(fmt.Errorf("nftables: %w", err), coderunner.Unavailable,
		"The rules that keep sandboxes apart could not be made. Check that this kernel has nftables (modules nf_tables, nft_ct, nft_masq) and that CodeRunner runs as root.")
}
