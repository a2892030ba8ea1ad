package eidas_test

import (
	"bytes"
	"slices"
	"testing"

	zasn1 "github.com/zmap/zcrypto/encoding/asn1"
	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/etsi"
	"github.com/zmap/zlint/v3/util"

	"gatehouse/eidas"
)

// zlint, an independent reader with its own copies of crypto/x509 and encoding/asn1, sees in the certificates of these
// tests what this package sees, and its rules of EN 319 412-5 find no fault; but those that do not claim to be
// qualified lack the statement that it expects of every qualified certificate.
func TestOracle(t *testing.T) {
	types := map[eidas.Kind]zasn1.ObjectIdentifier{
		eidas.QWAC: util.IdEtsiQcsQctWeb, eidas.OBWAC: util.IdEtsiQcsQctWeb,
		eidas.QSeal: util.IdEtsiQcsQctEseal, eidas.OBSeal: util.IdEtsiQcsQctEseal,
	}
	for kind, want := range types {
		ours := good(kind).parsed(t)
		theirs, err := zx509.ParseCertificate(ours.X509.Raw)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(theirs.Subject.OrganizationIDs, []string{ours.OrganizationIdentifier}) {
			t.Errorf("%s: they read %v", kind, theirs.Subject.OrganizationIDs)
		}

		value := util.GetExtFromCert(theirs, util.QcStateOid).Value
		qcType, ok := util.ParseQcStatem(value, util.IdEtsiQcsQcType).(util.Etsi423QcType)
		if !ok || qcType.GetErrorInfo() != "" || len(qcType.TypeOids) != 1 || !qcType.TypeOids[0].Equal(want) {
			t.Errorf("%s: they read %+v", kind, qcType)
		}
		psd2 := util.ParseQcStatem(value, zasn1.ObjectIdentifier(oidPSD2))
		if !psd2.IsPresent() || psd2.GetErrorInfo() != "" {
			t.Errorf("%s: they read %+v", kind, psd2)
		}
		checkPSD2(t, ours, theirs)

		qualified := kind == eidas.QWAC || kind == eidas.QSeal
		for _, l := range lint.GlobalRegistry().CertificateLints().BySource(lint.EtsiEsi) {
			result := l.Execute(theirs, lint.NewEmptyConfig())
			fault := result.Status >= lint.Warn
			if expected := l.Name == "e_qcstatem_mandatory_etsi_statems" && !qualified; fault != expected {
				t.Errorf("%s: %s: %s %s", kind, l.Name, result.Status, result.Details)
			}
		}
	}
}

// checkPSD2 reads the statement with zcrypto's encoding/asn1.
func checkPSD2(t *testing.T, ours *eidas.Certificate, theirs *zx509.Certificate) {
	t.Helper()
	statement, err := eidas.PSD2Statement(ours.Roles, ours.AuthorityName, ours.AuthorityID)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(theirs.Raw, statement) {
		t.Error("the statement is not in the certificate")
	}
	var read struct {
		ID   zasn1.ObjectIdentifier
		Info struct {
			Roles []struct {
				ID   zasn1.ObjectIdentifier
				Name string `asn1:"utf8"`
			}
			Name string `asn1:"utf8"`
			NCA  string `asn1:"utf8"`
		}
	}
	rest, err := zasn1.Unmarshal(statement, &read)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%v, %d bytes left", err, len(rest))
	}
	if !read.ID.Equal(zasn1.ObjectIdentifier(oidPSD2)) || read.Info.Name != ours.AuthorityName || read.Info.NCA != ours.AuthorityID {
		t.Errorf("they read %+v", read)
	}
	for i, role := range read.Info.Roles {
		if eidas.Role(role.Name) != ours.Roles[i] {
			t.Errorf("they read role %s", role.Name)
		}
	}
	if len(read.Info.Roles) != len(ours.Roles) {
		t.Errorf("they read %d roles", len(read.Info.Roles))
	}
}
