package views

import (
	"time"

	"github.com/coderunner/coderunner/internal/coderunner"
)

// AppliancesPage is the catalogue.
type AppliancesPage struct {
	Frame
	Appliances []ApplianceEntry
}

// TemplateState says whether an appliance can be instantiated at once.
type TemplateState string

const (
	TemplateReady    TemplateState = "ready"
	TemplateBuilding TemplateState = "building"
	TemplateAbsent   TemplateState = "absent" // built when first needed
	TemplateFailed   TemplateState = "failed"
)

// ApplianceEntry is an appliance with the state of its template.
type ApplianceEntry struct {
	Appliance coderunner.Appliance
	State     TemplateState
	Detail    string     // why it failed; "" otherwise
	BuiltAt   *time.Time // nil if it is not known
	SizeBytes int64      // 0 if it is not known
}
