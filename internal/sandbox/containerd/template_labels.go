package containerd

// Labels of a template's image, in its configuration and in the engine.
const (
	labelTemplateName   = "coderunner.io/template.name"
	labelTemplateDigest = "coderunner.io/template.digest"
	labelUserName       = "coderunner.io/user.name"
	labelUserHome       = "coderunner.io/user.home"
)
