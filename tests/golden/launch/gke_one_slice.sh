cat > run1.jobset.yaml <<'END'
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: run1
  labels:
    kueue.x-k8s.io/queue-name: lab
  annotations:
    alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool
spec:
  failurePolicy:
    maxRestarts: 10
    restartStrategy: BlockingRecreate
    rules:
    - name: usersError
      action: FailJobSet
      onJobFailureReasons:
      - PodFailurePolicy
  replicatedJobs:
  - name: host
    replicas: 1
    template:
      spec:
        parallelism: 2
        completions: 2
        completionMode: Indexed
        backoffLimit: 0
        podReplacementPolicy: Failed
        podFailurePolicy:
          rules:
          - action: FailJob
            onExitCodes:
              containerName: emojax
              operator: In
              values:
              - 2
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 120
            securityContext:
              fsGroup: 1000
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: tpu7x
              cloud.google.com/gke-tpu-topology: 2x2x2
            tolerations:
            - key: google.com/tpu
              operator: Exists
              effect: NoSchedule
            containers:
            - name: emojax
              image: registry/emojax:1
              command:
              - emojax
              args:
              - train
              - --config
              - base
              - --out
              - gs://bucket/run1
              - --resume
              - --processes
              - '2'
              resources:
                limits:
                  google.com/tpu: 4
END
kubectl apply --filename=run1.jobset.yaml
