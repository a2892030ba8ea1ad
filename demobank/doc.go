// Package demobank is everything around the server that a demonstration needs: sandbox banks with real pages, a demo
// third party, a directory that vouches for it, and a walk through the whole flow.
//
// A Bank sits behind the connector API of docs/connector.md like any other bank and knows nothing of the server's
// insides. A TPP, a Registrant and Walk speak only OAuth 2.0, OpenID Connect and the dynamic registration of
// docs/registration.md. So each of them is also an example of how a bank or a third party connects.
package demobank
