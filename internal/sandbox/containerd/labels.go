package containerd

// Labels of a template's image, in its configuration and in the engine.
const (
	labelTemplateName   = "coderunner.io/template.name"
	labelTemplateDigest = "coderunner.io/template.digest"
	labelUserName       = "coderunner.io/user.name"
	labelUserHome       = "coderunner.io/user.home"
)

// Labels of a container.
const (
	labelInstance = "coderunner.io/instance"
	labelName     = "coderunner.io/name"
	labelNetwork  = "coderunner.io/network"
	labelSpec     = "coderunner.io/spec"   // hash of what it was made from
	labelEnding   = "coderunner.io/ending" // there while the sandbox is being destroyed
	labelOwn      = "coderunner.io/label/" // and the caller's own labels
)
