package e2e

// standalone is one process, with its data in a folder.
type standalone struct{ data string }

func (b standalone) run(s *system) []*process {
	s.t.Helper()
	args := append([]string{
		"standalone", "--data", b.data, "--log-level", "info",
		"--cim-port", "0", "--http-port", "0", "--route-port", "0", "--admin-port", "0",
	}, s.settings...)
	return []*process{startProcess(s, surroundings{descriptors: s.descriptors}, args...)}
}
