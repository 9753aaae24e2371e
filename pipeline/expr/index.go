package expr

// Index runs many filters over one event.
type Index struct{ progs []*Program }

// NewIndex makes an index of filters; visits name them by their position.
func NewIndex(progs []*Program) *Index { return &Index{progs: progs} }

// Run evaluates the filters in their order and visits those that are true
// (err is nil) or failed. A failure never hides the event from the others.
// visit may evaluate other programs with x.
func (ix *Index) Run(x *Ctx, visit func(i int, err error)) {
	for i, p := range ix.progs {
		if ok, err := p.Bool(x); ok || err != nil {
			visit(i, err)
		}
	}
}
