package oidc

// What consents consist of: the data dictionaries of OBReadConsent1,
// OBWriteDomesticConsent4 and OBFundsConfirmationConsent1 in the UK Open
// Banking Read/Write API 3.1.11. Members and codes that earlier versions of 3.1
// had are taken, too, for all have the same path.

import (
	"encoding/json"
	"slices"
	"strings"

	"gatehouse"
)

// consentBody is what a POST of a resource must hold. Risk of account access
// is always empty, and software of the first versions leaves it out.
func consentBody(kind gatehouse.ConsentKind, version string) object {
	switch kind {
	case gatehouse.AccountAccess:
		return object{{"Data", required, isAccountAccess}, {"Risk", version != "v3.1", isObject()}}
	case gatehouse.DomesticPayment:
		return object{{"Data", required, isDomesticPayment}, {"Risk", required, isPaymentRisk}}
	}
	return object{{"Data", required, isFundsConfirmation}}
}

// OBReadData1.
var isAccountAccess = all(isObject(
	member{"Permissions", required, arePermissions},
	member{"ExpirationDateTime", optional, isFutureTime},
	member{"TransactionFromDateTime", optional, isTime},
	member{"TransactionToDateTime", optional, isTime},
), isPeriod)

// isPeriod refuses a period of transactions that has no moment.
func isPeriod(f *findings, path string, value json.RawMessage) {
	var data map[string]json.RawMessage
	json.Unmarshal(value, &data)
	from, hasFrom := timeOf(data["TransactionFromDateTime"])
	to, hasTo := timeOf(data["TransactionToDateTime"])
	if hasFrom && hasTo && to.Before(from) {
		f.add(codeFieldInvalidDate, path+".TransactionToDateTime", "is before TransactionFromDateTime")
	}
}

// arePermissions keeps the rules of "Permissions" in the Account and
// Transaction API Profile.
func arePermissions(f *findings, path string, value json.RawMessage) {
	isList(100, isCode(
		"ReadAccountsBasic", "ReadAccountsDetail", "ReadBalances", "ReadBeneficiariesBasic", "ReadBeneficiariesDetail", "ReadDirectDebits",
		"ReadOffers", "ReadPAN", "ReadParty", "ReadPartyPSU", "ReadProducts", "ReadScheduledPaymentsBasic", "ReadScheduledPaymentsDetail",
		"ReadStandingOrdersBasic", "ReadStandingOrdersDetail", "ReadStatementsBasic", "ReadStatementsDetail",
		"ReadTransactionsBasic", "ReadTransactionsCredits", "ReadTransactionsDebits", "ReadTransactionsDetail",
	))(f, path, value)
	var codes []string
	if json.Unmarshal(value, &codes) != nil {
		return
	}
	has := func(one, other string) bool { return slices.Contains(codes, one) || slices.Contains(codes, other) }
	if !has("ReadAccountsBasic", "ReadAccountsDetail") {
		f.add(codeFieldExpected, path, "must have ReadAccountsBasic or ReadAccountsDetail")
	}
	detail, direction := has("ReadTransactionsBasic", "ReadTransactionsDetail"), has("ReadTransactionsCredits", "ReadTransactionsDebits")
	if detail && !direction {
		f.add(codeFieldExpected, path, "must have ReadTransactionsCredits or ReadTransactionsDebits beside ReadTransactionsBasic and ReadTransactionsDetail")
	}
	if direction && !detail {
		f.add(codeFieldExpected, path, "must have ReadTransactionsBasic or ReadTransactionsDetail beside ReadTransactionsCredits and ReadTransactionsDebits")
	}
}

// OBFundsConfirmationConsentData1; the resource has no Risk.
var isFundsConfirmation = isObject(
	member{"ExpirationDateTime", optional, isFutureTime},
	member{"DebtorAccount", required, isDebtorAccount},
)

// OBWriteDataDomesticConsent4, with OBDomestic2, OBAuthorisation1 and
// OBSCASupportData1.
var isDomesticPayment = isObject(
	member{"ReadRefundAccount", optional, isCode("Yes", "No")},
	member{"Initiation", required, isObject(
		member{"InstructionIdentification", required, isText(1, 35)},
		member{"EndToEndIdentification", required, isText(1, 35)},
		member{"LocalInstrument", optional, isText(1, 50)},
		member{"InstructedAmount", required, isObject(
			member{"Amount", required, isLike(`^[0-9]{1,13}(\.[0-9]{1,5})?$`, "must be up to 13 digits, with up to 5 after a point")},
			member{"Currency", required, isLike(`^[A-Z]{3}$`, "must be three capital letters")},
		)},
		member{"DebtorAccount", optional, isDebtorAccount},
		member{"CreditorAccount", required, isCreditorAccount},
		member{"CreditorPostalAddress", optional, isObject(
			member{"AddressType", optional, isCode("Business", "Correspondence", "DeliveryTo", "MailTo", "POBox", "Postal", "Residential", "Statement")},
			member{"Department", optional, isText(1, 70)},
			member{"SubDepartment", optional, isText(1, 70)},
			member{"StreetName", optional, isText(1, 70)},
			member{"BuildingNumber", optional, isText(1, 16)},
			member{"PostCode", optional, isText(1, 16)},
			member{"TownName", optional, isText(1, 35)},
			member{"CountrySubDivision", optional, isText(1, 35)},
			member{"Country", optional, isCountry},
			member{"AddressLine", optional, isList(7, isText(1, 70))},
		)},
		member{"RemittanceInformation", optional, isObject(
			member{"Unstructured", optional, isText(1, 140)},
			member{"Reference", optional, isText(1, 35)},
		)},
		member{"SupplementaryData", optional, isAnyObject},
	)},
	member{"Authorisation", optional, isObject(
		member{"AuthorisationType", required, isCode("Any", "Single")},
		member{"CompletionDateTime", optional, isFutureTime},
	)},
	member{"SCASupportData", optional, isObject(
		member{"RequestedSCAExemptionType", optional, isCode("BillPayment", "ContactlessTravel", "EcommerceGoods", "EcommerceServices", "Kiosk", "Parking", "PartyToParty")},
		member{"AppliedAuthenticationApproach", optional, isCode("CA", "SCA")},
		member{"ReferencePaymentOrderId", optional, isText(1, 128)},
	)},
)

// OBRisk1. The second names of two indicators are those of versions before
// 3.1.11.
var isPaymentRisk = isObject(
	member{"PaymentContextCode", optional, isCode(
		"BillingGoodsAndServicesInAdvance", "BillingGoodsAndServicesInArrears", "PispPayee", "EcommerceMerchantInitiatedPayment",
		"FaceToFacePointOfSale", "TransferToSelf", "TransferToThirdParty",
		"BillPayment", "InvoicePayment", "EcommerceGoods", "EcommerceServices", "Other", "PartyToParty", // deprecated
	)},
	member{"MerchantCategoryCode", optional, isText(3, 4)},
	member{"MerchantCustomerIdentification", optional, isText(1, 70)},
	member{"ContractPresentIndicator", optional, isBoolean},
	member{"ContractPresentInidicator", optional, isBoolean},
	member{"BeneficiaryPrepopulatedIndicator", optional, isBoolean},
	member{"BeneficiaryPaymentDetailsPrepopulatedIndicator", optional, isBoolean},
	member{"PayeeAccountName", optional, isText(1, 70)},
	member{"PaymentPurposeCode", optional, isText(3, 4)},
	member{"BeneficiaryAccountType", optional, isCode(
		"Personal", "JointPersonal", "PersonalSavingsAccount", "Business", "BusinessSavingsAccount", "Charity", "Collection", "Corporate",
		"Government", "Ewallet", "Investment", "ISA", "Premier", "Wealth", "Pension",
	)},
	member{"DeliveryAddress", optional, isObject(
		member{"AddressLine", optional, isList(2, isText(1, 70))},
		member{"StreetName", optional, isText(1, 70)},
		member{"BuildingNumber", optional, isText(1, 16)},
		member{"PostCode", optional, isText(1, 16)},
		member{"TownName", required, isText(1, 35)},
		member{"CountrySubDivision", optional, isText(1, 35)},
		member{"Country", required, isCountry},
	)},
)

var isCountry = isLike(`^[A-Z]{2}$`, "must be two capital letters")

// OBCashAccountDebtor4 and OBCashAccountCreditor3.
var (
	isDebtorAccount   = isAccount(optional)
	isCreditorAccount = isAccount(required)
)

func isAccount(named bool) rule {
	return all(isObject(
		member{"SchemeName", required, isText(1, 40)},
		member{"Identification", required, isText(1, 256)},
		member{"Name", named, isText(1, 350)},
		member{"SecondaryIdentification", optional, isText(1, 34)},
	), isIdentification)
}

// isIdentification keeps the two schemes whose form the specification gives
// (OBExternalAccountIdentification4Code), also under their names without
// namespace.
func isIdentification(f *findings, path string, value json.RawMessage) {
	var account struct{ SchemeName, Identification string }
	if json.Unmarshal(value, &account) != nil || account.Identification == "" {
		return
	}
	scheme := strings.TrimPrefix(account.SchemeName, "UK.OBIE.")
	if scheme == "SortCodeAccountNumber" && !sortAccount.MatchString(account.Identification) ||
		scheme == "IBAN" && !iban.MatchString(account.Identification) {
		f.add(codeUnsupportedIdentifier, path+".Identification", "is not in the form of the SchemeName")
	}
}
