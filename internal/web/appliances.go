package web

import (
	"net/http"

	"github.com/coderunner/coderunner/internal/coderunner"
	"github.com/coderunner/coderunner/views"
)

// appliances is the catalogue with the state of each template.
func (s *site) appliances(w http.ResponseWriter, r *http.Request, user coderunner.User) error {
	page := views.AppliancesPage{Frame: s.frame("Appliances", views.SectionAppliances, user)}
	var states map[string]TemplateStatus
	if s.Templates != nil {
		var err error
		if states, err = s.Templates(r.Context()); err != nil {
			s.logger(r).Warn("asking for the templates", "err", err)
			page.Flash = &views.Flash{Kind: views.FlashError, Text: "The sandbox engine does not answer, so it is not known which templates are ready."}
		}
	}
	for _, definition := range s.Catalogue.All() {
		entry := views.ApplianceEntry{Appliance: definition.Domain(), State: views.TemplateAbsent}
		if status, known := states[definition.Name]; known {
			entry.State, entry.Detail, entry.BuiltAt, entry.SizeBytes = status.State, status.Detail, status.BuiltAt, status.SizeBytes
		}
		page.Appliances = append(page.Appliances, entry)
	}
	return s.render(w, r, http.StatusOK, views.Appliances(page))
}

// appliancesOf lists the catalogue's appliances of one kind.
func (s *site) appliancesOf(kind coderunner.ApplianceKind) []coderunner.Appliance {
	var found []coderunner.Appliance
	for _, definition := range s.Catalogue.All() {
		if definition.Kind == kind {
			found = append(found, definition.Domain())
		}
	}
	return found
}
