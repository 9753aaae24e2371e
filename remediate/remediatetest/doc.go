// Package remediatetest helps to test backends of package remediate: a fake
// kernel with the errors of a real one, network namespaces that are thrown
// away with the test, and the suite that every backend must pass.
package remediatetest
