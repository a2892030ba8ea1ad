// Package oidc serves every public protocol endpoint of the deployment: one
// file for each specification, one block of routes, one place that writes
// errors.
package oidc
