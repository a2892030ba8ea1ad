// Package jose signs and verifies every JSON Web Token of Gatehouse, keeps its signing keys, and reads the key sets of
// others. It knows two algorithms, RS256 and PS256, because the open banking profiles know no other RSA signature.
//
// A token from outside goes through a strict front before anything is believed: length, alphabet, canonical base64url,
// UTF-8, nesting, duplicate members, header members. What is left after that is one call of crypto/rsa, so the
// verification is made here and not by a JOSE library; PS256 takes exactly the salt length of RFC 7518 §3.5. Tests
// compare both directions with an independent library.
//
// The errors of this package that follow from what somebody sent are lower case, name the part at fault and never hold
// a value, so they may be shown to the sender behind the name of the parameter: "client_assertion: exp is missing".
package jose
