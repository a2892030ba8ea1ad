package jose

// The key policy: the kinds of weak RSA key that Let's Encrypt's goodkey looks for, within the bounds of this package.
// ROCA: Nemec, Sys, Svenda, Klinec, Matyas, "The Return of Coppersmith's Attack" (CVE-2017-15361).

import (
	"crypto/rsa"
	"errors"
	"math/big"
	"slices"
)

// checkShape tells whether verifying with key has a bounded cost and a meaning.
func checkShape(key *rsa.PublicKey) error {
	switch {
	case key.N.BitLen() < minBits || key.N.BitLen() > maxBits:
		return errBits
	case key.N.Bit(0) == 0:
		return errors.New("RSA modulus is even")
	case key.E != exponent:
		return errExponent
	}
	return nil
}

// checkWeak refuses a modulus that anyone can factor: with a prime below 752, of the ROCA form, or of two primes so
// close that Fermat's method finds them in a hundred steps. About a tenth of a millisecond; done once, when a key is read.
func checkWeak(n *big.Int) error {
	if new(big.Int).GCD(nil, nil, n, smallPrimes).Cmp(one) != 0 {
		return errors.New("RSA modulus has a small factor")
	}
	if roca(n) {
		return errors.New("RSA modulus has the ROCA weakness")
	}
	if closePrimes(n) {
		return errors.New("RSA modulus is of two primes too close together")
	}
	return nil
}

// published are the thumbprints of keys whose private halves are printed in specifications and manuals, from where they
// get into software that is in use (badkeys, "Known private keys").
var published = []string{
	"IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8", // RFC 7515 appendix A.2
	"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", // RFC 7517 appendix A.2, RFC 7638 §3.1
	"9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI", // RFC 7520 §3.4
	"Fa5JHFzFB8yHv0Dk3rGTgtCQPXPr3q8midyfylf8CUU", // RFC 9500 §2.1, testRSA2048
	"oGDmHqCJ7yzMkWEkrlZVHkvrHIyQwtlDmeq5ForUHeY", // jwt.io
	"r1LkbBo3925Rb2ZFFrKyU3MVex9T2817Kx0vbi6i_Kc", // panva's oidc-provider and jose
}

// checkPublished refuses a key that anyone can sign with.
func checkPublished(key *rsa.PublicKey) error {
	if slices.Contains(published, Thumbprint(key)) {
		return errors.New("RSA key is an example whose private half is published")
	}
	return nil
}

// roca reports whether n is a power of 65537 modulo every prime up to 167. The weak generator makes only such moduli;
// of good ones fewer than one in 2^27 is.
func roca(n *big.Int) bool {
	for _, p := range rocaPrimes {
		r := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		power := int64(1)
		for power != r {
			power = power * exponent % p
			if power == 1 { // back at the start
				return false
			}
		}
	}
	return true
}

// closePrimes runs Fermat's factorization: n = a² - b² = (a-b)(a+b), with a from ⌈√n⌉ up.
func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	b2 := new(big.Int).Mul(a, a)
	if b2.Cmp(n) == 0 {
		return true
	}
	a.Add(a, one)
	b2.Mul(a, a).Sub(b2, n)
	b := new(big.Int)
	for range 100 {
		if low := b2.Bits()[0] & 15; low == 0 || low == 1 || low == 4 || low == 9 { // the squares modulo 16
			b.Sqrt(b2)
			if b.Mul(b, b).Cmp(b2) == 0 {
				return true
			}
		}
		b2.Add(b2, a).Add(b2, a).Add(b2, one) // (a+1)² = a² + 2a + 1
		a.Add(a, one)
	}
	return false
}

var (
	one         = big.NewInt(1)
	smallPrimes = product(primesBelow(752))
	rocaPrimes  = primesBelow(168)

	errBits     = errors.New("RSA modulus is not of 2048 to 4096 bits")
	errExponent = errors.New("RSA exponent is not 65537")
)

func primesBelow(limit int64) (primes []int64) {
	for p := int64(2); p < limit; p++ {
		if big.NewInt(p).ProbablyPrime(0) {
			primes = append(primes, p)
		}
	}
	return primes
}

func product(factors []int64) *big.Int {
	p := big.NewInt(1)
	for _, f := range factors {
		p.Mul(p, big.NewInt(f))
	}
	return p
}
