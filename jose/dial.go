package jose

// IANA special-purpose address registries (RFC 6890), RFC 6761 §6.3 (localhost), RFC 8725 §3.10

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxURL is the length in bytes of the longest URL that is fetched.
const maxURL = 2048

// ValidKeysURL returns nil for a URL that key sets may be read from, as far as can be told without looking its name up:
// https, at most 2048 characters, without userinfo and fragment, to port 443 or one above 1023, of a host that is a
// public address or a name with a dot in it. The text of an error is fit for a client.
func ValidKeysURL(raw string) error { return validKeysURL(raw, nil) }

func validKeysURL(raw string, allow func(netip.AddrPort) bool) error {
	if len(raw) > maxURL {
		return fmt.Errorf("jwks_uri is longer than %d bytes", maxURL)
	}
	u, err := url.Parse(raw)
	if err != nil || strings.ContainsFunc(raw, notInURL) {
		return errors.New("jwks_uri is not a URL")
	}
	if u.Scheme != "https" {
		return errors.New("jwks_uri must be https")
	}
	if u.User != nil {
		return errors.New("jwks_uri must not have a user name or password")
	}
	if strings.Contains(raw, "#") { // url.Parse does not tell of an empty one
		return errors.New("jwks_uri must not have a fragment")
	}
	port := 443
	if text := u.Port(); text != "" {
		port, err = strconv.Atoi(text)
	}
	if err != nil || port > 65535 || port < 1024 && port != 443 { // what is below speaks other protocols
		return errors.New("jwks_uri must have port 443 or one from 1024 to 65535")
	}
	if address, err := netip.ParseAddr(u.Hostname()); err == nil {
		return checkAddress(netip.AddrPortFrom(address, uint16(port)), allow)
	}
	if !PublicHost(u.Hostname()) {
		return errNotPublic
	}
	return nil
}

// PublicHost reports whether host is a public address or a name with a dot in it that no reader takes for an address.
// It looks nothing up.
func PublicHost(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return public(address.Unmap())
	}
	return len(host) <= 253 && hostName.MatchString(host) && !localhost.MatchString(host)
}

var errNotPublic = errors.New("jwks_uri does not name a public host")

// notInURL reports whether c has no place in a URI (RFC 3986 §2).
func notInURL(c rune) bool { return c <= ' ' || c > '~' || strings.ContainsRune("\"<>\\^`{|}", c) }

var (
	// hostName is a name in more than one label (RFC 1123 §2.1). The last has no digit in front, so that nothing else
	// that some resolver takes for an address, such as 127.1 or 0x7f.0.0.1, is a name here.
	hostName  = regexp.MustCompile(`(?i)^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?\.?$`)
	localhost = regexp.MustCompile(`(?i)\.localhost\.?$`)
)

// checkAddress refuses every address that is not public and not allowed.
func checkAddress(address netip.AddrPort, allow func(netip.AddrPort) bool) error {
	address = netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
	if public(address.Addr()) || allow != nil && allow(address) {
		return nil
	}
	return errNotPublic
}

// public reports whether a is an address that anybody on the Internet may have.
func public(a netip.Addr) bool {
	if a.Is6() && !globalUnicast.Contains(a) {
		return false
	}
	return !slices.ContainsFunc(special, func(p netip.Prefix) bool { return p.Contains(a) })
}

// globalUnicast is all of IPv6 that IANA has opened for the Internet. It leaves out loopback, link-local, unique local,
// multicast and the translations of IPv4 addresses (64:ff9b::/96). A zone, too, is never in it.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the rest of the registries, whether or not globally reachable, and what clouds add to them.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),        // this network
	netip.MustParsePrefix("10.0.0.0/8"),       // private
	netip.MustParsePrefix("100.64.0.0/10"),    // shared address space of carriers
	netip.MustParsePrefix("127.0.0.0/8"),      // loopback
	netip.MustParsePrefix("168.63.129.16/32"), // the host of an Azure machine
	netip.MustParsePrefix("169.254.0.0/16"),   // link-local, and the metadata of most clouds
	netip.MustParsePrefix("172.16.0.0/12"),    // private
	netip.MustParsePrefix("192.0.0.0/24"),     // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),     // documentation
	netip.MustParsePrefix("192.31.196.0/24"),  // AS112
	netip.MustParsePrefix("192.52.193.0/24"),  // AMT
	netip.MustParsePrefix("192.88.99.0/24"),   // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),   // private
	netip.MustParsePrefix("192.175.48.0/24"),  // AS112
	netip.MustParsePrefix("198.18.0.0/15"),    // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"),  // documentation
	netip.MustParsePrefix("203.0.113.0/24"),   // documentation
	netip.MustParsePrefix("224.0.0.0/4"),      // multicast
	netip.MustParsePrefix("240.0.0.0/4"),      // reserved, broadcast

	netip.MustParsePrefix("2001::/23"),         // protocol assignments: Teredo, benchmarks, ORCHID
	netip.MustParsePrefix("2001:db8::/32"),     // documentation
	netip.MustParsePrefix("2002::/16"),         // 6to4
	netip.MustParsePrefix("2620:4f:8000::/48"), // AS112
	netip.MustParsePrefix("3fff::/20"),         // documentation
}

// PublicOnly is a net.Dialer.Control that connects to public addresses alone, for other fetches than those of keys.
func PublicOnly(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !public(to.Addr().Unmap()) {
		return errors.New("not a public address")
	}
	return nil
}

// transport makes one connection. It checks the address when the socket is about to be connected, after the name was
// looked up for the last time, so that no answer of a name server gets past it.
func (f *Fetcher) transport(ctx context.Context) *http.Transport {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{
			Resolver: f.Resolver,
			Control: func(_, address string, _ syscall.RawConn) error {
				to, err := netip.ParseAddrPort(address)
				if err != nil {
					return err
				}
				return checkAddress(to, f.Allow)
			},
		},
		Config: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: f.RootCAs, Time: f.Now},
	}
	return &http.Transport{ // without Proxy: none is taken from the environment
		DialTLSContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
			defer survive(&err)                              // it runs in a goroutine of Transport
			return dialer.DialContext(ctx, network, address) // not Transport's context, which knows no deadline
		},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
}
